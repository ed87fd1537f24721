#!/usr/bin/env node
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { folders } from './pack.mjs'

/** `npm version` runs this: the lab gets feynkac's version, and each names the other in it. The package with CUDA kernels gets it when it is packed. */

const fileOf = (folder) => path.join(folder, 'package.json')
const read = (folder) => JSON.parse(fs.readFileSync(fileOf(folder), 'utf8'))
const write = (folder, manifest) => fs.writeFileSync(fileOf(folder), `${JSON.stringify(manifest, null, 2)}\n`)

/** Where a version is another than feynkac's own, in words. */
export function disagreements() {
  const [main, lab] = [read(folders.feynkac), read(folders.lab)]
  const given = {
    'the version of feynkac-lab': lab.version,
    "feynkac-lab's peer feynkac": lab.peerDependencies.feynkac,
    "feynkac's peer feynkac-lab": main.peerDependencies['feynkac-lab'],
  }
  const wrong = Object.entries(given).filter(([, version]) => version !== main.version)
  return wrong.map(([what, version]) => `${what} is ${version}, not ${main.version}`)
}

if (process.argv[1] === import.meta.filename) {
  const [main, lab] = [read(folders.feynkac), read(folders.lab)]
  const { version } = main
  main.peerDependencies['feynkac-lab'] = version
  write(folders.feynkac, main)
  write(folders.lab, { ...lab, version, peerDependencies: { ...lab.peerDependencies, feynkac: version } })
  const run = (command, ...args) => execFileSync(command, args, { cwd: folders.feynkac, stdio: 'inherit' })
  run('npm', 'install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund')
  run('git', 'add', 'package.json', 'package-lock.json', 'packages/lab/package.json')
}
