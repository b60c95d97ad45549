import { defineConfig } from 'vitest/config'

const report = process.env['TEST_REPORT']

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Figures for machines, beside those for people.
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // Two cores: tests that start real servers, browsers and runtimes disturb each other beyond that.
    maxWorkers: 2,
  },
})
