#!/usr/bin/env node
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { recordCommit } from './commit.mjs'
import { buildAddon, checkTools, root, runQuietly, SetupError } from './native.mjs'

/**
 * Makes a clone ready to run: dependencies, addon, TypeScript. What is up to date is left alone (found by content, not by
 * time), so that every other script can begin with this one. Several at once wait for each other.
 */

const here = (...parts) => path.join(root, ...parts)
const readJson = (file) => {
  try {
    return JSON.parse(fs.readFileSync(here(file), 'utf8'))
  } catch {
    return undefined
  }
}

function files(folder) {
  return fs
    .readdirSync(here(folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)))
    .sort()
}

function digest(names, ...values) {
  const hash = createHash('sha256').update(JSON.stringify([names, values]))
  for (const name of names) hash.update(fs.readFileSync(here(name))).update('\0')
  return hash.digest('hex')
}

const packageVersion = (name) => readJson(`node_modules/${name}/package.json`)?.version

// What was built, from what: lies in build/, so that it goes when the build goes.
const stampFile = 'build/setup.json'
const readStamp = () => readJson(stampFile) ?? {}
function writeStamp(change) {
  fs.mkdirSync(here('build'), { recursive: true })
  fs.writeFileSync(here(stampFile), JSON.stringify({ ...readStamp(), ...change }))
}

/** npm's own record of what it installed, against the lock file. Packages for other platforms are optional. */
const dependencies = {
  name: 'dependencies',
  isCurrent() {
    const installed = readJson('node_modules/.package-lock.json')?.packages
    if (!installed) return false
    return Object.entries(readJson('package-lock.json').packages).every(
      ([where, { version, integrity, optional }]) =>
        where === '' ||
        (optional && !installed[where]) ||
        (installed[where]?.version === version && installed[where].integrity === integrity),
    )
  },
  bring: (onChild) =>
    runQuietly('npm', ['ci', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund'], {
      shell: process.platform === 'win32',
      onChild,
    }),
}

const addonFile = 'build/Release/feynkac.node'
const addonIdentity = () => {
  const stat = fs.statSync(here(addonFile), { throwIfNoEntry: false })
  return stat && `${stat.size} ${stat.mtimeMs}`
}
const addon = {
  name: 'addon',
  // CMake keeps these from the first configuration, so a change means a new build tree
  configuration() {
    const options = ['FEYNKAC_SANITIZE', 'FEYNKAC_CUDA', 'FEYNKAC_CUDA_ARCHITECTURES', 'CXX', 'CUDACXX']
    return digest([], root, process.platform, process.arch, ...options.map((name) => process.env[name] ?? ''))
  },
  sources() {
    const { version, binary } = readJson('package.json')
    const sources = files('native').filter((name) => !name.startsWith(path.join('native', 'test')))
    return digest(['CMakeLists.txt', ...sources], version, binary, packageVersion('node-addon-api'))
  },
  isCurrent() {
    const stamp = readStamp().addon
    return (
      stamp?.sources === this.sources() &&
      stamp.configuration === this.configuration() &&
      stamp.built === addonIdentity()
    )
  },
  async bring(onChild) {
    const configuration = this.configuration()
    const sources = this.sources() // before building: a change during the build is then built next time
    const afresh = readStamp().addon?.configuration !== configuration
    await buildAddon({ afresh, onChild })
    writeStamp({ addon: { configuration, sources, built: addonIdentity() } })
  },
}

/** Folders of sources, each compiled into a `dist`. */
const compiled = ['lib', 'packages/lab/src', 'packages/watch/src']

const typescript = {
  name: 'TypeScript',
  sources: () =>
    digest(
      [
        ...['tsconfig.json', 'packages/lab/tsconfig.json', 'packages/watch/tsconfig.json'],
        ...['packages/watch/vite.config.mjs', ...compiled.flatMap(files), ...files('packages/watch/page')],
      ],
      packageVersion('typescript'),
      packageVersion('@types/node'),
    ),
  isCurrent() {
    const output = (name) =>
      here(
        name
          .replace(/^lib/, 'dist')
          .replace(/^(packages.\w+.)src/, '$1dist')
          .replace(/\.ts$/, '.js'),
      )
    return (
      readStamp().typescript === this.sources() &&
      [...compiled.flatMap(files).map(output), here('packages/watch/dist/page/index.html')].every((name) =>
        fs.existsSync(name),
      )
    )
  },
  async bring(onChild) {
    const sources = this.sources()
    for (const project of ['.', 'packages/lab', 'packages/watch']) // the lab is compiled against the engine's declarations
      await runQuietly(process.execPath, [here('node_modules/typescript/bin/tsc'), '-p', here(project)], { onChild })
    const source = (name) =>
      name
        .replace(/^dist/, 'lib')
        .replace(/^(packages.\w+.)dist/, '$1src')
        .replace(/(\.d\.ts|\.js)$/, '.ts')
    await runQuietly(process.execPath, [here('node_modules/vite/bin/vite.js'), 'build', '-c', here('packages/watch/vite.config.mjs')], { onChild }) // biome-ignore format: one line
    const page = path.join('packages', 'watch', 'dist', 'page') + path.sep // Vite clears it itself
    for (const name of ['dist', 'packages/lab/dist', 'packages/watch/dist'].flatMap(files))
      if (!name.startsWith(page) && !fs.existsSync(here(source(name)))) fs.rmSync(here(name))
    recordCommit()
    writeStamp({ typescript: sources })
  },
}

/** The lock is a file that its holder keeps touching: one that is left behind goes stale, whatever ended its holder. */
async function locked(work) {
  const lock = here('.setup.lock')
  const staleMs = 15_000
  for (let told = false; ; ) {
    try {
      fs.closeSync(fs.openSync(lock, 'wx'))
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw new SetupError(`cannot write in ${root}: ${error.message}`)
    }
    const touched = fs.statSync(lock, { throwIfNoEntry: false })?.mtimeMs
    if (touched !== undefined && Date.now() - touched > staleMs) fs.rmSync(lock, { force: true })
    else if (!told) {
      console.error('set-up: waiting for another set-up to end')
      told = true
    }
    await new Promise((resolve) => setTimeout(resolve, 100 + 200 * Math.random()))
  }
  let child
  const release = () => fs.rmSync(lock, { force: true })
  const stop = (signal) => {
    child?.kill(signal)
    release()
    process.exit(128 + { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 }[signal])
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, stop)
  const touch = setInterval(() => {
    const now = new Date()
    fs.utimes(lock, now, now, () => {})
  }, 1000)
  try {
    await work((started) => {
      child = started
    })
  } finally {
    clearInterval(touch)
    release()
  }
}

async function setUp() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19))
    throw new SetupError(`feynkac needs Node 20.19 or newer; this is ${process.version}`)
  // As npm's `prepare` after an installation, which has just brought the packages and must not be run inside itself
  const installing =
    process.env.npm_lifecycle_event === 'prepare' && ['ci', 'install'].includes(process.env.npm_command ?? '')
  const steps = installing ? [addon, typescript] : [dependencies, addon, typescript]
  if (installing && !(packageVersion('cmake-js') && packageVersion('typescript')))
    return console.error('set-up: nothing is built, because development dependencies are left out')
  const isCurrent = () => steps.every((step) => step.isCurrent())
  if (isCurrent()) return
  try {
    if (!addon.isCurrent()) checkTools() // what is to be installed by hand is best said before the downloads
    await locked(async (onChild) => {
      for (const step of steps) {
        if (step.isCurrent()) continue
        const began = performance.now()
        console.error(`set-up: ${step.name} ...`)
        await step.bring(onChild)
        console.error(`set-up: ${step.name} done in ${((performance.now() - began) / 1000).toFixed(1)} s`)
      }
    })
  } catch (error) {
    if (!(installing && error.missing)) throw error
    console.error(`set-up: not built yet: ${error.message}`)
  }
}

setUp().catch((error) => {
  console.error(error instanceof SetupError ? `set-up: ${error.message}` : error)
  process.exitCode = 1
})
