import type { Command } from 'commander'
import { interruptible } from './interrupt.js'
import { applyThreads, type CommonOptions, common } from './options.js'
import { type Progress, progress } from './progress.js'

/** The command `demo`: compositions in the plane against their exact answers. */
export function register(program: Command): void {
  const command = program
    .command('demo')
    .description('Learn a ring and a bar, compose them, and compare with the exact answers.')
    .option('--quick', 'train a tenth as long')
  common(command, 'feynkac demo --seed 1').action(async (flags: CommonOptions & { quick?: boolean }) => {
    await applyThreads(flags)
    const { planarDemo } = await import('../demo/planar.js')
    let shown: { name: string; bar: Progress } | undefined
    const stage = (name: string, done: number, total: number) => {
      if (shown?.name !== name) {
        shown?.bar.end()
        shown = { name, bar: progress(total) }
      }
      shown.bar.update(done, name)
    }
    const run = (signal: AbortSignal) =>
      planarDemo({ seed: flags.seed ?? 0, shorter: flags.quick ? 0.1 : 1, signal, stage })
    const { rows } = await interruptible(run).finally(() => shown?.bar.end())
    if (flags.json) console.log(JSON.stringify({ plane: rows }))
    else console.table(rows.map(({ spread, ...row }) => row))
  })
}
