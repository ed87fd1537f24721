import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { MissingPackageError } from '../lib/base/errors.js'
import { optional } from '../lib/base/optional.js'

/** What is loaded when, and what is said where a package is not there. */

const root = new URL('..', import.meta.url)
const entry = new URL('dist/index.js', root).href

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-loading-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** Runs a program under the hooks of loading.mjs: the files and modules of Node's that it loaded, the lines that it printed, and its errors. */
async function child(argv: readonly string[], absent: readonly string[] = []) {
  const register = `import module from 'node:module'; module.register(${JSON.stringify(new URL('loading.mjs', import.meta.url).href)})
const resolve = module._resolveFilename // what require finds
module._resolveFilename = (name, ...rest) => {
  if (!process.env.ABSENT.split(' ').includes(name)) return resolve(name, ...rest)
  throw Object.assign(new Error('Cannot find module ' + name), { code: 'MODULE_NOT_FOUND' })
}`
  const args = ['--import', `data:text/javascript,${encodeURIComponent(register)}`, ...argv]
  const options = { cwd: folder, env: { ...process.env, ABSENT: absent.join(' '), ENTRY: entry } }
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, options).catch((error) => error)
  const lines: string[] = stdout.split('\n').filter(Boolean)
  const loaded = lines.filter((line) => line.startsWith('file:')).map((url) => url.replace(root.href, ''))
  const builtin = lines.filter((line) => line.startsWith('node:'))
  return { loaded, builtin, printed: lines.filter((line) => !/^(file|node):/.test(line)), stderr }
}

const program = (code: string) => ['--input-type=module', '-e', code]

it('the import loads the addon and what sampling takes, and nothing else', async () => {
  const code = `import { createRequire } from 'node:module'
await import(process.env.ENTRY)
for (const file of Object.keys(createRequire(import.meta.url).cache)) console.log(file)`
  const { loaded, builtin, printed } = await child(program(code))
  for (const name of [
    'node:crypto',
    'node:util',
    'node:zlib',
    'node:stream',
    'node:worker_threads',
    'node:child_process',
  ])
    expect(builtin).not.toContain(name)
  expect(loaded.filter((file) => !file.startsWith('dist/'))).toEqual([])
  const rooms = new Set(loaded.map((file) => /^dist\/(?:([^/]+)\/)?/.exec(file)![1] ?? ''))
  expect([...rooms].sort()).toEqual(['', 'base', 'data', 'metrics', 'models', 'native', 'networks', 'ranks', 'smc', 'weights']) // biome-ignore format: one line
  expect(loaded.filter((file) => /^dist\/weights\/(?!safetensors|source-model)/.test(file))).toEqual([])
  const packages = printed.flatMap((file) => /node_modules\/([^/]+)/.exec(file)?.[1] ?? [])
  expect(new Set(packages)).toEqual(new Set(['node-gyp-build']))
})

it('without sharp images are not read, and the error says how to install it', async () => {
  await writeFile(join(folder, 'a.png'), Buffer.from('\x89PNG', 'latin1'))
  const code = `const { loadDataset } = await import(process.env.ENTRY)
await loadDataset('.').catch(({ name, code, packages, message }) => console.log(JSON.stringify([name, code, packages, message])))`
  const { printed, loaded } = await child(program(code), ['sharp'])
  expect(JSON.parse(printed[0])).toEqual([
    'MissingPackageError',
    'FEYNKAC_MISSING_PACKAGE',
    ['sharp'],
    'reading image files needs packages that come separately: npm install sharp (not installed)',
  ])
  expect(loaded.filter((file) => file.includes('node_modules'))).toEqual([])
})

it('without the packages of plots demo and fit say so before they train', async () => {
  const cli = new URL('bin/feynkac.js', root).pathname
  const commands = [
    [['demo', '--output', join(folder, 'demo')], 'vega-lite'],
    [['fit', 'synthetic:shapes', '--minutes', '1', '--output', join(folder, 'fit')], 'sharp'],
  ] as const
  for (const [argv, absent] of commands) {
    const { printed, stderr } = await child([cli, ...argv], [absent])
    expect(stderr).toMatch(/npm install sharp vega vega-lite dejavu-fonts-ttf/)
    expect(printed).toEqual([])
  }
})

it('a package that is there but does not load is told from one that is not there', async () => {
  const broken = optional('drawing', ['sharp'], () =>
    Promise.reject(new Error('Could not load the "sharp" module\nmore')),
  )
  await expect(broken).rejects.toThrow(
    /drawing needs .* npm install sharp \(not loaded: Could not load the "sharp" module\)/,
  )
  await expect(broken).rejects.toThrow(MissingPackageError)
})
