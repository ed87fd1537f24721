import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

/** The page, built into dist/page: relative addresses, so that it can be served under any path. */
export default defineConfig({
  root: fileURLToPath(new URL('page', import.meta.url)),
  base: './',
  build: { outDir: '../dist/page', emptyOutDir: true, modulePreload: { polyfill: false }, reportCompressedSize: false },
})
