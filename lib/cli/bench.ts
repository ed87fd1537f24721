import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { common } from './options.js'

export function register(program: Command): void {
  common(
    program.command('bench').description('Say how to run the benchmarks, which are part of the source tree.'),
    'feynkac bench',
  ).action((options: { json?: boolean }) => {
    const root = fileURLToPath(new URL('../..', import.meta.url))
    const here = existsSync(new URL('../../bench/run.mjs', import.meta.url))
    const command = 'npm run bench'
    if (options.json) return console.log(JSON.stringify({ command, directory: here ? root : null }))
    console.log(
      here
        ? `Run in ${root}:\n  ${command}`
        : `The benchmarks are in the source tree. Clone it, then: npm install && ${command}`,
    )
  })
}
