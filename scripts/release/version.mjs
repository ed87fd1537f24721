#!/usr/bin/env node
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { folders } from './pack.mjs'

/** `npm version` runs this: the lab and the page of runs get feynkac's version, and feynkac names theirs. The package with CUDA kernels gets it when it is packed. */

const fileOf = (folder) => path.join(folder, 'package.json')
const read = (folder) => JSON.parse(fs.readFileSync(fileOf(folder), 'utf8'))
const write = (folder, manifest) => fs.writeFileSync(fileOf(folder), `${JSON.stringify(manifest, null, 2)}\n`)

/** Where a version is another than feynkac's own, in words. */
export function disagreements() {
  const [main, lab, watch] = [folders.feynkac, folders.lab, folders.watch].map(read)
  const given = {
    'the version of feynkac-lab': lab.version,
    "feynkac-lab's peer feynkac": lab.peerDependencies.feynkac,
    "feynkac's peer feynkac-lab": main.peerDependencies['feynkac-lab'],
    'the version of feynkac-watch': watch.version,
    "feynkac's peer feynkac-watch": main.peerDependencies['feynkac-watch'],
  }
  const wrong = Object.entries(given).filter(([, version]) => version !== main.version)
  return wrong.map(([what, version]) => `${what} is ${version}, not ${main.version}`)
}

if (process.argv[1] === import.meta.filename) {
  const [main, lab, watch] = [folders.feynkac, folders.lab, folders.watch].map(read)
  const { version } = main
  for (const name of ['feynkac-lab', 'feynkac-watch']) main.peerDependencies[name] = version
  write(folders.feynkac, main)
  write(folders.lab, { ...lab, version, peerDependencies: { ...lab.peerDependencies, feynkac: version } })
  write(folders.watch, { ...watch, version })
  const run = (command, ...args) => execFileSync(command, args, { cwd: folders.feynkac, stdio: 'inherit' })
  run('npm', 'install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund')
  run('git', 'add', 'package.json', 'package-lock.json', 'packages/lab/package.json', 'packages/watch/package.json')
}
