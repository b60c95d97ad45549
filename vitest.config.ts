import { defineConfig } from 'vitest/config'

const report = process.env['TEST_REPORT']

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Figures for machines, beside those for people.
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // Tests wait for clocks as much as for processors; beyond this, those that start real servers and browsers disturb each other.
    maxWorkers: 3,
  },
})
