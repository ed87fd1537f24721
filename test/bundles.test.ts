import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build, type Format } from 'esbuild'
import { afterAll, beforeAll, expect, it } from 'vitest'

/** Programs that a bundler has put together: with feynkac outside they run, with feynkac inside they say what to do. */

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-bundle-'))
  await mkdir(join(folder, 'node_modules'))
  await symlink(fileURLToPath(new URL('..', import.meta.url)), join(folder, 'node_modules/feynkac'), 'dir')
  await writeFile(join(folder, 'package.json'), '{ "name": "app", "type": "module" }')
  await writeFile(
    join(folder, 'app.ts'),
    "import { effectiveSampleSize } from 'feynkac'\nconsole.log(effectiveSampleSize(new Float64Array(8)))\n",
  )
})
afterAll(() => rm(folder, { recursive: true }))

async function bundled(format: Format, external: string[]) {
  const outfile = join(folder, 'out', format === 'esm' ? 'app.js' : 'app.cjs')
  const optional = ['sharp', 'vega', 'vega-lite'] // need not be installed
  await build({
    ...{ absWorkingDir: folder, entryPoints: ['app.ts'], bundle: true, platform: 'node', format, outfile },
    ...{ external: [...external, ...optional], logLevel: 'error', logOverride: { 'empty-import-meta': 'silent' } },
  })
  return promisify(execFile)(process.execPath, [outfile])
}

it.each<Format>(['esm', 'cjs'])('%s: outside of the bundle it runs', async (format) => {
  expect((await bundled(format, ['feynkac'])).stdout).toBe('8\n')
})

it.each<Format>(['esm', 'cjs'])('%s: inside of the bundle it says to keep it out', async (format) => {
  await expect(bundled(format, [])).rejects.toThrow(/feynkac was put into a bundle.*external: \['feynkac'\]/s)
})
