import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // Two cores: tests that start real servers, browsers and runtimes disturb each other beyond that.
    maxWorkers: 2,
  },
})
