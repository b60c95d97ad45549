import { defineConfig } from 'vitest/config'

const report = process.env['TEST_REPORT']

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Figures for machines, beside those for people.
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // Two cores, and half of the tests wait for real servers, browsers and runtimes most of their time.
    maxWorkers: 3,
  },
})
