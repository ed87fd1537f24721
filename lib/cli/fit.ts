import type { Command } from 'commander'
import { readingRows } from '../data/options.js'
import { type FitOptions, fitRows } from '../fit/options.js'
import type { FitProgress, FitResult } from '../fit/result.js'
import { Interrupted, interruptible } from './interrupt.js'
import { applyThreads, type CommonOptions, common, deviceOf, tableFlags, tableValues } from './options.js'
import { type Progress, progress } from './progress.js'
import { sameBits } from './same-bits.js'
import { spelled } from './spelled.js'
import { givenIfAny } from './train-options.js'
import { watchFlag, whileWatched } from './watch.js'

/** The command `fit`: from pictures to an energy. */

interface Flags extends CommonOptions, Pick<FitOptions, 'output' | 'images'> {
  watch?: number | true
}

const STAGES: Record<FitProgress['stage'], string> = {
  teacher: 'teacher',
  energy: 'energy',
  calibration: 'calibrating',
  classifier: 'classifier',
  pictures: 'drawing',
}

export function register(program: Command): void {
  const command = program
    .command('fit')
    .description('Learn an energy from pictures: train a teacher, distil it, draw samples, and write a report.')
    .argument('<data>', 'pictures: IDX, CIFAR-10, zip, .npy, a folder, or synthetic:NAME')
    .option('--output <directory>', 'where model.safetensors, report.html, fit.json and pictures go', 'feynkac-fit')
  common(
    watchFlag(tableFlags(command, { ...fitRows, ...readingRows })),
    'feynkac fit fashion-mnist --minutes 15 --output garments',
  ).action(async (data: string, flags: Flags) => {
    await applyThreads(flags)
    const library = await import('../fit/fit.js')
    const { describeFindings } = await import('../fit/findings.js')
    const { output } = flags
    const dataOptions = givenIfAny(tableValues(flags, readingRows))
    const note = (line: string) => process.stderr.write(`${line}\n`)
    const shown = stages()
    let teacherImages = 0
    const run = (signal: AbortSignal) =>
      library.fit({
        ...deviceOf(flags),
        ...tableValues(flags, fitRows),
        ...(dataOptions && { dataOptions }),
        data,
        output,
        signal,
        onFindings: (found) => describeFindings(found).map(spelled).forEach(note),
        onPlan: (plan, stage) => {
          shown.note(`${stage}: ${plan.text}`)
          if (stage === 'teacher') teacherImages = plan.images
          else if (flags.images === undefined) {
            const counts = ['--images', String(teacherImages), '--energy-images', String(plan.images)]
            shown.note(sameBits(process.argv.slice(2), counts))
          }
        },
        onProgress: shown.update,
      } satisfies FitOptions)
    try {
      const result = await whileWatched(flags, true, () => interruptible(run)).finally(shown.end)
      console.log(flags.json ? JSON.stringify(result) : (await summary(result)).join('\n'))
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error
      throw new Interrupted(error.signal, 'stopped; the same command goes on with it')
    }
  })
}

/** One bar for all stages. */
function stages() {
  let bar: Progress | undefined
  let heldOut = ''
  let last = ''
  return {
    update({ stage, done, total, loss, heldOutLoss }: FitProgress): void {
      bar ??= progress(Math.round(total), Math.round(done), '%')
      if (stage !== last) heldOut = ''
      last = stage
      if (heldOutLoss !== undefined) heldOut = ` | held out ${heldOutLoss.toPrecision(4)}`
      const losses = loss === undefined ? '' : ` | loss ${loss.toPrecision(4)}${heldOut}`
      bar.update(Math.round(done), `${STAGES[stage]}${losses}`)
    },
    note: (line: string): void => (bar ? bar.note(line) : void process.stderr.write(`${line}\n`)),
    end: () => bar?.end(),
  }
}

async function summary(result: FitResult): Promise<string[]> {
  const { output, model, classifier, samples, copies, seconds } = result
  const { adviceFor, describeClassifier, describeDrawing, rightOf, sampleCommands } = await import('../fit/report.js')
  const width = Math.max(...samples.flatMap(({ name, rows }) => [name, ...rows.map(({ label }) => `  ${label}`)]).map(({ length }) => length)) // biome-ignore format: one line
  const counts = samples.flatMap(({ name, rows }) => [
    `${name.padEnd(width)}  ${rightOf(rows)} as asked`,
    ...rows.filter(({ label }) => label !== '').map((row) => `  ${row.label}`.padEnd(width + 2) + rightOf([row])),
  ])
  return [
    ...(classifier ? [...counts, `(${describeClassifier(result)})`] : []),
    describeDrawing(result),
    copies.text,
    ...adviceFor(result),
    `${seconds} s. Look at ${output}/report.html; the energy is ${model}:`,
    ...sampleCommands(result).map((command) => `  ${command}`),
  ]
}
