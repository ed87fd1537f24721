#!/usr/bin/env node
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { buildForGpu } from './gpu/build.mjs'
import { listFixtures } from './gpu/fixtures.mjs'
import { root } from './native.mjs'

/**
 * Packs the GPU check (verify-gpu.mjs) into one folder for a machine that has a GPU but neither Node nor a registry: this Node, the
 * package's JavaScript, an addon, native tests and benchmark built for its architecture, fixtures and peers, as one archive, and a
 * run.sh that unpacks and runs it.
 */

const options = new Command('pack-gpu')
  .description('Pack the GPU check for a machine without Node.')
  .option('--architectures <list>', 'GPUs to build for, as FEYNKAC_CUDA_ARCHITECTURES', '90a-real')
  .option('--build <folder>', 'a build to pack, instead of one made here')
  .option('--fixtures <folder>', 'reference files', path.join(root, '../shared/fixtures/unet'))
  .option('--out <folder>', 'where to pack', path.join(root, 'build-gpu'))
  .option('--limit <MB>', 'largest size', Number, 60)
  .parse()
  .opts()

const MEGA = 1e6
const size = (file) => fs.statSync(file).size
const megabytes = (bytes) => `${(bytes / MEGA).toFixed(1)} MB`

function run(command, args, { env = process.env } = {}) {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8', env })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`)
}

/** Packages that the check loads, with what they need; images and plots are not among them. */
function packages(names, found = new Set()) {
  for (const name of names.filter((n) => !found.has(n))) {
    found.add(name)
    const manifest = path.join(root, 'node_modules', name, 'package.json')
    packages(Object.keys(JSON.parse(fs.readFileSync(manifest, 'utf8')).dependencies ?? {}), found)
  }
  return [...found]
}

const isNeeded = (file) => !/\.(d\.ts|map|md|pyc)$|__pycache__/.test(file)

function stage(folder) {
  const copy = (from, to = path.relative(root, from)) =>
    fs.cpSync(from, path.join(folder, to), { recursive: true, filter: isNeeded, dereference: true })
  for (const name of ['package.json', 'LICENSE', 'bin', 'dist', 'bench/gpu', 'bench/peers', 'scripts'])
    copy(path.join(root, name))
  for (const name of packages(['commander', 'cli-progress', 'node-gyp-build']))
    copy(path.join(root, 'node_modules', name))
  copy(process.execPath, 'node')

  const built = path.join(build, 'build')
  const programs = fs.readdirSync(built).filter((name) => name.endsWith('_test') || name === 'gpu_bench')
  for (const name of [...programs, 'Release/feynkac.node'])
    copy(path.join(built, name), path.join('native/build', name))
  // what stands for MPI and NCCL in tests, beside the programs
  for (const name of fs.readdirSync(path.join(built, 'Release')).filter((file) => /^libmock_\w+\.so$/.test(file)))
    copy(path.join(built, 'Release', name), path.join('native/build', name))
  run(
    'strip',
    programs.map((name) => path.join(folder, 'native/build', name)),
  )

  const { supported, unsupported } = listFixtures(options.fixtures)
  for (const file of supported) copy(file, path.join('fixtures', path.basename(file)))
  if (supported.length === 0) console.log(`no fixtures in ${options.fixtures}`)

  const { stdout } = spawnSync('git', ['describe', '--always', '--dirty', '--abbrev=40'], {
    cwd: root,
    encoding: 'utf8',
  })
  const description = {
    build: 'native',
    fixtures: 'fixtures',
    architectures: options.build ? null : options.architectures,
    commit: stdout?.trim() || null,
    date: new Date().toISOString(),
    unsupported: unsupported.map((file) => path.basename(file)),
  }
  fs.writeFileSync(path.join(folder, 'packed.json'), JSON.stringify(description, null, 1))
}

const RUN = `#!/bin/sh
# Unpacks the GPU check into a temporary folder and runs it there: ./run.sh [options]; ./run.sh --help lists them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
if command -v xz >/dev/null; then
  tar -xJf "$here/payload.tar.xz" -C "$folder"
else
  python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$here/payload.tar.xz" "$folder"
fi
"$folder/node" "$folder/scripts/verify-gpu.mjs" "$@"
`

function sizes(folder) {
  const total = (name) =>
    fs
      .readdirSync(path.join(folder, name), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .reduce((sum, entry) => sum + size(path.join(entry.parentPath ?? entry.path, entry.name)), 0)
  const parts = { node: size(path.join(folder, 'node')) }
  for (const name of ['native', 'fixtures', 'node_modules', 'dist', 'bench'])
    if (fs.existsSync(path.join(folder, name))) parts[name] = total(name)
  return Object.entries(parts)
    .map(([name, bytes]) => `${name} ${megabytes(bytes)}`)
    .join(', ')
}

const build = path.resolve(options.build ?? path.join(root, 'build-gpu-native'))
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-pack-'))
try {
  if (!options.build) {
    console.log(`building for ${options.architectures} ...`)
    await buildForGpu({ folder: build, architectures: options.architectures })
  }
  stage(folder)
  console.log(`unpacked: ${sizes(folder)}`)
  fs.mkdirSync(options.out, { recursive: true })
  const archive = path.join(options.out, 'payload.tar.xz')
  // the window spans a few programs, which share their kernels
  run('tar', ['-cJf', archive, '-C', folder, '--sort=name', '.'], { env: { ...process.env, XZ_OPT: '-7 -T0' } })
  fs.writeFileSync(path.join(options.out, 'run.sh'), RUN, { mode: 0o755 })
  const total = size(archive) + size(path.join(options.out, 'run.sh'))
  console.log(`packed: ${options.out}, ${megabytes(total)}`)
  if (total > options.limit * MEGA) {
    fs.rmSync(archive)
    throw new Error(
      `${megabytes(total)} is over the limit of ${options.limit} MB: pack fewer architectures or fixtures`,
    )
  }
} catch (error) {
  console.error(`pack-gpu: ${error.message}`)
  process.exitCode = 1
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
