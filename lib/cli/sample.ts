import { join } from 'node:path'
import type { Command } from 'commander'
import { MissingPackageError } from '../base/errors.js'
import { prepareFolder, refuseOverwriting, removeFiles, writeFileAtomic } from '../base/files.js'
import { LevelLog } from '../report/level-log.js'
import { parseAttributes, parseTerm } from '../service/composition.js'
import { compositionRows, gridRows } from '../service/request-options.js'
import { adaptRows } from '../smc/adapt-options.js'
import { interruptible } from './interrupt.js'
import { applyThreads, choice, common, count, number, partOption, repeated, tableFlags, usage } from './options.js'
import { divisionOf, openRanks, speaks } from './ranks.js'
import { digestOf, settle } from './sample-again.js'
import { type Drawn, methods, particlesRow, type SampleFlags, smcFlagRows } from './sample-types.js'
import { Unsound } from './unsound.js'
import { commit, version } from './version.js'
import { watchFlag, whileWatched } from './watch.js'

/** The command `sample`: its options and the files it writes. */

export function register(program: Command): void {
  const command = program
    .command('sample')
    .description('Sample a denoiser, an energy, or a composition of energies by sequential Monte Carlo.')
    .argument('[model]', 'model.safetensors of an energy or a denoiser; with --again that of the run before')
    .option('--again <file>', 'samples.json of a run before: draws the same samples again, but for the options given')
    .option(
      '--output <directory>',
      'where samples.png, samples.npy, weights.npy, genealogy.png and samples.json go',
      'samples',
    )
    .option('--no-previews', 'write no samples of the levels into --output while it goes')
    .option('--tensorboard', 'write an event file for TensorBoard into --output, of the levels')
    .option('--overwrite', 'replace what a run before has left in --output')
    .option('--autoencoder <file>', 'the autoencoder of a model of latents: its samples are decoded')
  tableFlags(command, { ...particlesRow, ...gridRows })
    .addOption(choice('--method <name>', 'smc for energies, ancestral for denoisers', methods))
    .option('--class <class>', 'class of a model with one attribute, by index or name', parseClass)
    .option('--null-class <row>', 'of a model with a class table: the row that stands for no class', count(0))
    .option('--attributes <list>', 'labels, such as hair=3,pose=front', usage(parseAttributes))
    .option('--with <term>', 'AND: multiply by FILE, FILE@labels or labels (repeat)', repeated(usage(parseTerm)))
    .option('--not <term>', 'NOT: divide by this density (repeat)', repeated(usage(parseTerm)))
  tableFlags(command, { ...compositionRows, ...smcFlagRows })
    .option(
      '--adapt-levels [cess]',
      'of smc: place --steps levels by pilot runs, or as many as keep this conditional ESS',
      number(adaptRows.conditionalEss.range),
    )
    .option('--allow-collapse', 'exit with 0 where the population collapsed, not 3')
  partOption(command, '--output')
  watchFlag(command)
  common(
    command,
    'feynkac sample runs/energy/model.safetensors --attributes hair=3 --with pose=front --divide-prior --particles 256',
  ).action(async (given: string | undefined, own: SampleFlags) => {
    const { model, flags } = await settle(given, own, command)
    await applyThreads(flags)
    const ranks = await openRanks(flags)
    if (!speaks) return sampled(model, flags, ranks)
    await prepareFolder(flags.output)
    if (flags.part) return sampled(model, flags, ranks) // the folder is all parts'
    const { holdFolder } = await import('../training/folder.js')
    const free = await holdFolder(flags.output)
    try {
      await sampled(model, flags, ranks)
    } finally {
      await free()
    }
  })
}

/** Draws the samples and writes them into the folder of the output, which is this process's alone. */
async function sampled(model: string, flags: SampleFlags, ranks: Awaited<ReturnType<typeof openRanks>>): Promise<void> {
  const { draw } = await import('./sample-run.js')
  const paths = outputs.map((name) => join(flags.output, name))
  if (speaks) await refuseOverwriting(paths, flags.overwrite ?? false)
  const about = { model, particles: flags.particles, options: optionsOf(flags) }
  // parts that draw at the same time would write one log
  const log = new LevelLog(speaks && !flags.part ? flags.output : null, about, flags)
  const parted = flags.part && { ...(await recipe(model, flags)), parts: flags.part.count }
  const division = parted && (await divisionOf(flags, join(flags.output, 'parts'), parted))
  const work = () => interruptible((signal) => draw(model, flags, { ranks, division }, log, signal))
  const drawn = await whileWatched(flags, speaks, work).catch(async (error) => {
    await log.end({ failed: error instanceof Error ? error.message : String(error) })
    throw error
  })
  const unsound = drawn.summary.collapsed && !flags.allowCollapse
  if (!speaks) {
    if (unsound) throw new Unsound()
    return
  }
  // what is left of a run before does not belong to these samples
  await removeFiles(paths)
  const files = await write(flags.output, { ...drawn, report: { ...(await recipe(model, flags)), ...drawn.report } })
  await division?.close()
  await log.end({ summary: drawn.summary })
  // first what decides whether the rest means anything
  const { collapsed, note, ...figures } = drawn.summary
  const first = { ...(collapsed !== undefined && { collapsed }), ...(note !== undefined && { note }) }
  const summary = { ...first, model, files, particles: flags.particles, ...figures }
  if (flags.json) console.log(JSON.stringify(summary))
  else for (const [name, value] of Object.entries(summary)) console.log(`${name.padEnd(14)} ${text(value)}`)
  if (unsound) throw new Unsound('--allow-collapse exits with 0 all the same')
}

/** Options that say where and how a run goes, not what it draws. */
const unrecorded = [
  'output',
  'overwrite',
  'again',
  'json',
  'verbose',
  'threads',
  'device',
  'allowCollapse',
  'part',
  'previews',
  'watch',
  'tensorboard',
]

/** All that it takes to draw the same samples again, for samples.json. */
async function recipe(model: string, flags: SampleFlags): Promise<object> {
  const others = [...(flags.with ?? []), ...(flags.not ?? [])].flatMap(({ file }) => file ?? [])
  const files: Record<string, string> = {}
  for (const file of new Set([model, flags.autoencoder ?? model, ...others])) {
    const digest = await digestOf(file)
    if (digest !== null) files[file] = digest
  }
  return {
    version: await version(),
    commit: await commit(),
    model,
    sha256: files,
    options: optionsOf(flags),
  }
}

function optionsOf(flags: SampleFlags): object {
  const options = Object.fromEntries(Object.entries(flags).filter(([name]) => !unrecorded.includes(name)))
  return { ...options, seed: flags.seed ?? 0 }
}

function text(value: unknown): string {
  if (typeof value === 'number' && !Number.isInteger(value)) return value.toPrecision(6)
  return Array.isArray(value) ? value.join(', ') : String(value)
}

function parseClass(value: string): number | string {
  return /^\d+$/.test(value) ? Number(value) : value
}

/** What the command writes; of another run there may be more of them. */
const outputs = [
  'samples.npy',
  'samples.json',
  'latents.npy',
  'weights.npy',
  'genealogy.png',
  'samples.png',
  'result.json',
]

async function write(folder: string, { result, latents, genealogy, report }: Drawn): Promise<string[]> {
  const path = (name: string) => join(folder, name)
  const files = [...(await result.save(folder, { overwrite: true })), path('samples.json')]
  await writeFileAtomic(files.at(-1)!, `${JSON.stringify(report, null, 1)}\n`)
  if (latents) {
    const { writeNpy } = await import('../data/npy-write.js')
    files.push(path('latents.npy'))
    await writeNpy(files.at(-1)!, latents.samples, [result.particles, ...latents.shape])
  }
  if (result.shape.length === 3 && !files.includes(path('samples.png')))
    process.stderr.write(
      'samples.png is left out: drawing samples needs sharp, which comes separately: npm install sharp\n',
    )
  if (!genealogy) return files
  try {
    await writeFileAtomic(path('genealogy.png'), [await genealogy()])
    files.push(path('genealogy.png'))
  } catch (error) {
    if (!(error instanceof MissingPackageError)) throw error
    process.stderr.write(`genealogy.png is left out: ${error.message}\n`)
  }
  return files
}
