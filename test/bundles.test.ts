import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build, type Format } from 'esbuild'
import { rolldown } from 'rolldown'
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

const bundlers = {
  esbuild: (format: Format, outfile: string, external: string[]) =>
    build({
      ...{ absWorkingDir: folder, entryPoints: ['app.ts'], bundle: true, platform: 'node', format, outfile },
      ...{ external, logLevel: 'error', logOverride: { 'empty-import-meta': 'silent' } },
    }),
  rolldown: async (format: Format, file: string, external: string[]) => {
    const bundle = await rolldown({ cwd: folder, input: 'app.ts', platform: 'node', external, logLevel: 'silent' })
    await bundle.write({ file, format, codeSplitting: false })
  },
}
const cases = (['esbuild', 'rolldown'] as const).flatMap((name) =>
  (['esm', 'cjs'] as const).map((format) => ({ name, format })),
)
type Case = (typeof cases)[number]

async function bundled({ name, format }: Case, external: string[]) {
  const outfile = join(folder, name, format === 'esm' ? 'app.js' : 'app.cjs')
  await bundlers[name](format, outfile, external)
  return promisify(execFile)(process.execPath, [outfile])
}

it.each(cases)('$name, $format: outside of the bundle it runs', async (one) => {
  expect((await bundled(one, ['feynkac'])).stdout).toBe('8\n')
})

it.each(cases)('$name, $format: inside of the bundle it says to keep it out', async (one) => {
  await expect(bundled(one, [])).rejects.toThrow(/feynkac was put into a bundle.*external: \['feynkac'\]/s)
})
