#!/usr/bin/env node
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { Command } from 'commander'
import { examine, FLOOR } from './platforms/check.mjs'
import { missingPrebuilds, missingTools, platforms, prebuildOf, root } from './platforms/list.mjs'
import { missingToRun, runNativeTests, runSmoke } from './platforms/test.mjs'
import { billOf } from './release/bill.mjs'
import { folders, pack } from './release/pack.mjs'
import { disagreements } from './release/version.mjs'

/**
 * A release: checks the addons of all platforms, packs feynkac, the package with CUDA kernels, the lab and the page of runs twice, and publishes them. With --dry-run
 * it does what one machine can: builds what is missing, tests it, and says what is left to the workflow.
 */

const options = new Command('release')
  .description('Check, pack and publish a release, from the addons in prebuilds/ and packages/.')
  .option('--dry-run', 'build and test here what can be, and publish nothing')
  .option('--no-build', 'with --dry-run: leave out what is not built')
  .option(
    '--native-tests',
    'with --dry-run: run the native tests that are built (build.mjs --tests), which emulators take long for',
  )
  .option('--floor <version>', 'highest version of glibc that an addon may need', FLOOR)
  .option('--expect <SHA256SUMS>', 'sums of tarballs that were tested before: these must be the same')
  .option('--jobs <n>', 'compilers at a time')
  .option('--out <folder>', 'tarballs, SHA256SUMS and sbom.cdx.json', 'build-release')
  .parse()
  .opts()

const manifest = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
const out = path.resolve(options.out)
const sha256 = (file) => createHash('sha256').update(fs.readFileSync(file)).digest('hex')
const kilobytes = (bytes) => `${Math.round(bytes / 1000)} kB`
const shell = process.platform === 'win32'
const problems = []

/** Builds the addon of a platform where it is missing and this machine can; what is wrong with it. */
function provide(name) {
  if (fs.existsSync(prebuildOf(name))) return ''
  const absent = missingTools(name)
  if (absent.length) return `not built: no ${absent.join(', ')} here`
  if (!options.dryRun || !options.build) return 'not built'
  const jobs = options.jobs ? ['--jobs', options.jobs] : []
  try {
    const arguments_ = [path.join(root, 'scripts/platforms/build.mjs'), name, ...jobs]
    execFileSync(process.execPath, arguments_, { stdio: 'inherit' })
    return ''
  } catch {
    return 'does not build'
  }
}

/** How far an addon was tested here. */
function tested(name, tarball) {
  const missing = missingToRun(name)
  if (missing) return `not run: no ${missing} here`
  const notes = []
  const { count, failed } = options.nativeTests ? runNativeTests(name) : { count: 0, failed: [] }
  if (count) notes.push(`${count - failed.length} of ${count} native tests`)
  if (failed.length) problems.push(`${name}: ${failed.join(', ')} failed`)
  const { ok, text } = runSmoke(name, tarball)
  notes.push(ok ? text : 'the smoke test fails')
  if (!ok) problems.push(`${name}: ${text}`)
  return notes.join('; ')
}

function row(name, tarball, absence) {
  if (absence) return [name, '', absence]
  const file = prebuildOf(name)
  const { glibc, problems: wrong } = examine(name, file, options.floor)
  problems.push(...wrong.map((what) => `${name}: ${what}`))
  const size = kilobytes(fs.statSync(file).size)
  return [
    name,
    size,
    [glibc ? `glibc ${glibc}` : '', options.dryRun ? tested(name, tarball) : ''].filter(Boolean).join('; '),
  ]
}

/** Packs twice: the same bytes, or the tarball cannot be checked by building it again. */
async function packed(name) {
  const { tarball, ...manifest } = await pack(out, name, { withCuda: hasCuda })
  const again = await pack(path.join(out, 'again'), name, { withCuda: hasCuda })
  if (sha256(tarball) !== sha256(again.tarball))
    problems.push(`${path.basename(tarball)}: packed twice, it has other bytes`)
  fs.rmSync(path.join(out, 'again'), { recursive: true })
  return { ...manifest, tarball }
}

/** Publishes a package, unless a release that broke off has: then it has to be the same. */
function publish({ id, integrity, tarball }) {
  const { stdout, status } = spawnSync('npm', ['view', id, 'dist.integrity'], { encoding: 'utf8', shell })
  const there = status === 0 ? stdout.trim() : ''
  if (there === integrity) return console.log(`${id}: published before`)
  if (there) throw new Error(`${id} was published before with other bytes: ${there}, not ${integrity}`)
  const provenance = process.env.GITHUB_ACTIONS ? ['--provenance'] : []
  const args = ['publish', tarball, ...provenance, '--access', 'public', '--ignore-scripts']
  execFileSync('npm', args, { stdio: 'inherit', shell })
}

/** In a workflow: the tag and the repository are those of the manifest, which provenance vouches for. */
function checkOrigin() {
  const { GITHUB_REPOSITORY: repository, GITHUB_REF_NAME: tag } = process.env
  if (repository && !manifest.repository.url.includes(`github.com/${repository}.git`))
    problems.push(`repository in package.json is ${manifest.repository.url}, not ${repository}`)
  if (repository && tag !== `v${manifest.version}`) problems.push(`the tag is ${tag}, not v${manifest.version}`)
}

fs.rmSync(out, { recursive: true, force: true })
fs.mkdirSync(out, { recursive: true })
const absences = Object.fromEntries(Object.keys(platforms).map((name) => [name, provide(name)]))
const hasCuda = fs.existsSync(path.join(folders.cuda, 'feynkac.node'))
const packages = {}
for (const name of Object.keys(folders)) if (name !== 'cuda' || hasCuda) packages[name] = await packed(name)
const table = Object.entries(absences).map(([name, absence]) => row(name, packages.feynkac.tarball, absence))
if (hasCuda) {
  const file = path.join(folders.cuda, 'feynkac.node')
  const { glibc, problems: wrong } = examine('linux-x64', file, options.floor)
  problems.push(...wrong.map((what) => `with CUDA: ${what}`))
  table.push(['linux-x64, CUDA', kilobytes(fs.statSync(file).size), `glibc ${glibc}; a package of its own`])
}
fs.writeFileSync(path.join(out, 'sbom.cdx.json'), billOf(packages.feynkac.tarball, manifest))
const sums = fs.readdirSync(out).map((file) => `${sha256(path.join(out, file))}  ${file}`)
fs.writeFileSync(path.join(out, 'SHA256SUMS'), `${sums.join('\n')}\n`)

if (options.expect) {
  const expected = fs.readFileSync(options.expect, 'utf8').split('\n')
  for (const sum of sums.filter((line) => line.endsWith('.tgz')))
    if (!expected.includes(sum)) problems.push(`${sum.split(/ +/)[1]}: not the bytes that were tested`)
}

for (const [name, size, how] of table) console.log(`${name.padEnd(17)} ${size.padStart(8)}  ${how}`)
for (const { tarball } of Object.values(packages))
  console.log(`${path.basename(tarball)}: ${kilobytes(fs.statSync(tarball).size)}`)
if (!hasCuda)
  console.log('@feynkac/linux-x64-cuda: not packed (build.mjs --cuda builds its addon, where there is nvcc)')

problems.push(...disagreements())
if (!options.dryRun) {
  checkOrigin()
  const missing = missingPrebuilds()
  if (missing.length) problems.push(`no addon for ${missing.join(', ')}`)
  if (!hasCuda) problems.push('no addon with CUDA kernels')
}
for (const problem of problems) console.error(`release: ${problem}`)
if (problems.length) process.exit(1)
if (!options.dryRun) for (const one of Object.values(packages)) publish(one)
