import type { Command } from 'commander'
import { interruptible } from './interrupt.js'
import { loadLab } from './load-lab.js'
import { applyThreads, type CommonOptions, common } from './options.js'
import { stageBars } from './stages.js'
import { printTable } from './tables.js'
import { watchFlag, whileWatched } from './watch.js'

/** The command `demo`: the main job on synthetic data. */

interface Flags extends CommonOptions {
  output: string
  quick?: boolean
  watch?: number | true
}

export function register(program: Command): void {
  const command = program
    .command('demo')
    .description('Learn energies of points and pictures, compose them by SMC, compare, and write a report.')
    .option('--output <directory>', 'where report.html, results.json and figures go', 'feynkac-demo')
    .option('--quick', 'train and compare a twentieth as long: shows that it runs, not how well')
  common(watchFlag(command), 'feynkac demo --output report --seed 1').action(async (flags: Flags) => {
    await applyThreads(flags)
    const { runDemo } = await loadLab()
    const bars = stageBars()
    const { output, seed, quick } = flags
    const run = (signal: AbortSignal) =>
      runDemo({ output, seed, signal, onStage: bars.onStage, ...(quick && { shorter: 0.05 }) })
    const { result, tables, files } = await whileWatched(flags, true, () => interruptible(run)).finally(bars.end)
    if (flags.json) return console.log(JSON.stringify({ ...result, files }))
    for (const table of tables) printTable(table)
    console.log(`${result.seconds} s. Written:\n${files.map((file) => `  ${file}`).join('\n')}`)
  })
}
