import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))

export default defineConfig({
  // the lab's engine is the one that the tests import
  resolve: {
    alias: [
      { find: /^feynkac$/, replacement: here('lib/index.ts') },
      { find: /^feynkac\/internal$/, replacement: here('lib/internal.ts') },
      { find: /^feynkac-lab$/, replacement: here('packages/lab/src/index.ts') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: '100%', // vitest leaves one core free, of two one
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: ['default', './test/closing-line.ts'],
  },
})
