import { join } from 'node:path'
import { Argument, type Command, Option } from 'commander'
import { ArgumentError } from '../base/errors.js'
import type { Part } from '../ranks/part.js'
import { interruptible } from './interrupt.js'
import { dividedExperiments, type ExperimentName, experimentNames } from './lab.js'
import { loadLab } from './load-lab.js'
import { applyThreads, type CommonOptions, common, count, partOption } from './options.js'
import { divisionOf, isTogether, speaks } from './ranks.js'
import { stageBars } from './stages.js'
import { printTable } from './tables.js'
import { watchFlag, whileWatched } from './watch.js'

/** The command `experiment`: claims about control, each with its numbers. */

interface Flags extends CommonOptions {
  output?: string
  budget: 'quick' | 'small' | 'medium' | 'large'
  models: string
  data?: string
  size?: number
  part?: Part
  watch?: number | true
}

export function register(program: Command): void {
  const command = program
    .command('experiment')
    .description('Put a claim to the test: numbers beside the exact answer or the strongest comparator, and a report.')
    .addArgument(new Argument('<name>', 'the claim').choices(experimentNames))
    .option(
      '--output <directory>',
      'where report.html, report.md, results.json and figures go (experiments/<name>, with --data <name>-images)',
    )
    .addOption(
      new Option(
        '--budget <size>',
        'how much work: quick shows that it runs, small takes some ten minutes on two cores',
      )
        .choices(['quick', 'small', 'medium', 'large'])
        .default('small'),
    )
    .option('--models <directory>', 'models that experiments train and share', 'experiments/models')
    .option(
      '--data <path>',
      'composition, consistency: images with attributes of your own (dataset.json), read by a classifier',
    )
    .option('--size <pixels>', 'the side that they are scaled to (16)', count(8, 64))
  partOption(command, '--output')
  common(watchFlag(command), 'feynkac experiment exact --budget medium --seed 1').action(
    async (name: ExperimentName, flags: Flags) => {
      await applyThreads(flags)
      const { runExperiment } = await loadLab()
      const { budget, models, data, size, seed, device, json } = flags
      const { output = join('experiments', data === undefined ? name : `${name}-images`) } = flags
      if ((flags.part || isTogether) && !dividedExperiments.some((divided) => divided === name))
        throw new ArgumentError(`experiment ${name} is the work of one process: ${dividedExperiments.join(' and ')} can be divided`) // biome-ignore format: one line
      const asked = { experiment: name, budget, data, size, seed }
      const division = flags.part || isTogether ? await divisionOf(flags, join(output, 'parts'), asked) : undefined
      const bars = stageBars()
      const options = { output, budget, models, data, size, seed, device, division, onStage: bars.onStage }
      const run = (signal: AbortSignal) => runExperiment(name, { ...options, signal })
      const watched = { watch: flags.watch, output, also: [models] }
      const work = () => interruptible(run)
      const { result, tables, files } = await whileWatched(watched, speaks, work).finally(bars.end)
      await division?.close()
      if (!speaks) return
      if (json) return console.log(JSON.stringify({ ...result, files }))
      for (const { title, header, rows } of tables) {
        console.log(title)
        printTable({ header, rows })
      }
      for (const { claim, holds, evidence } of result.findings)
        console.log(`${holds ? 'holds' : 'DOES NOT HOLD'}: ${claim}\n  ${evidence}`)
      console.log(`${result.seconds} s. Written:\n${files.map((file) => `  ${file}`).join('\n')}`)
    },
  )
}
