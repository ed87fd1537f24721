import type { Command } from 'commander'
import { interruptible } from './interrupt.js'
import { applyThreads, type CommonOptions, common } from './options.js'
import { type Progress, progress } from './progress.js'

/** The command `demo`: the main job on synthetic data. */

interface Flags extends CommonOptions {
  output: string
  quick?: boolean
}

export function register(program: Command): void {
  const command = program
    .command('demo')
    .description('Learn energies of points and pictures, compose them by SMC, compare, and write a report.')
    .option('--output <directory>', 'where report.html, results.json and figures go', 'feynkac-demo')
    .option('--quick', 'train and compare a twentieth as long: shows that it runs, not how well')
  common(command, 'feynkac demo --output report --seed 1').action(async (flags: Flags) => {
    await applyThreads(flags)
    const { runDemo } = await import('../demo/run.js')
    let shown: { name: string; bar: Progress } | undefined
    const onStage = (name: string, done: number, total: number) => {
      if (shown?.name !== name) {
        shown?.bar.end()
        shown = { name, bar: progress(total) }
      }
      shown.bar.update(done, name)
    }
    const { output, seed, quick } = flags
    const run = (signal: AbortSignal) => runDemo({ output, seed, signal, onStage, ...(quick && { shorter: 0.05 }) })
    const { result, files } = await interruptible(run).finally(() => shown?.bar.end())
    if (flags.json) return console.log(JSON.stringify({ ...result, files }))
    const { planarTable, shapesTable } = await import('../demo/figures.js')
    for (const table of [planarTable(result.plane.rows), shapesTable(result.pictures.rows)]) print(table)
    console.log(`${result.seconds} s. Written:\n${files.map((file) => `  ${file}`).join('\n')}`)
  })
}

function print({ header, rows }: { header: string[]; rows: string[][] }): void {
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i].length)))
  for (const row of [header, ...rows])
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
  console.log()
}
