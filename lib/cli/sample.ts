import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { ArgumentError, formatFailure, MissingPackageError } from '../base/errors.js'
import {
  found,
  openFile,
  prepareFolder,
  readFileChecked,
  readFully,
  refuseOverwriting,
  release,
  removeFiles,
  writeFileAtomic,
} from '../base/files.js'
import { isObject, parseJsonObject } from '../base/json.js'
import { sizeOf } from '../base/shape.js'
import { parseAttributes, parseTerm } from '../service/composition.js'
import { resamplingSchemes } from '../smc/resampling.js'
import { interruptible } from './interrupt.js'
import { applyThreads, choice, common, count, number, partOption, repeated, usage } from './options.js'
import { divisionOf, openRanks, speaks } from './ranks.js'
import type { Drawn } from './sample-types.js'
import { methods, type SampleFlags } from './sample-types.js'
import { Unsound } from './unsound.js'
import { commit, version } from './version.js'

/** The command `sample`: its options and the files it writes. */

export function register(program: Command): void {
  const positive = number({ above: 0 })
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
    .option('--overwrite', 'replace what a run before has left in --output')
    .option('--autoencoder <file>', 'the autoencoder of a model of latents: its samples are decoded')
    .option('--particles <number>', 'samples to draw', count(), 64)
    .option('--steps <number>', 'noise levels to go through', count(), 64)
    .option('--sigma-min <number>', "smallest noise level (the model's)", positive)
    .option('--sigma-max <number>', "largest noise level (the model's)", positive)
    .option('--rho <number>', 'spacing of the noise levels', positive, 7)
    .addOption(choice('--method <name>', 'smc for energies, heun for denoisers', methods))
    .option('--class <class>', 'class of a model with one attribute, by index or name', parseClass)
    .option('--null-class <row>', 'of a model with a class table: the row that stands for no class', count(0))
    .option('--attributes <list>', 'labels, such as hair=3,pose=front', usage(parseAttributes))
    .option('--gamma <number>', 'the density to this power: above 1, low temperature', positive, 1)
    .option('--with <term>', 'AND: multiply by FILE, FILE@labels or labels (repeat)', repeated(usage(parseTerm)))
    .option('--divide-prior', 'AND of independent conditions: divide the unconditional density out')
    .option('--not <term>', 'NOT: divide by this density (repeat)', repeated(usage(parseTerm)))
    .option('--strength <number>', 'power of what --not divides by', positive, 0.5)
    .option('--guidance <scale>', 'classifier-free guidance by the labels; 1: none', number(), 1)
    .option('--guidance-interval <lo,hi>', 'of a denoiser: guide at these noise levels only', parseInterval)
    .option('--box <lo,hi>', 'keep all coordinates between two bounds', parseBox)
    .addOption(
      choice('--weights <form>', 'of smc (none for learnt energies of pictures, else bridge)', [
        ...['bridge', 'tilt', 'fkc', 'rne', 'likelihood', 'none'],
      ]),
    )
    .addOption(choice('--kernel <form>', 'of smc (scaled)', ['scaled', 'plain']))
    .addOption(
      choice('--proposal <form>', 'of smc (calibrated where every model has a table, else analytic)', [
        ...['analytic', 'analytic-diagonal', 'calibrated', 'posterior', 'sde', 'tempered'],
      ]),
    )
    .addOption(choice('--resampling <scheme>', 'of smc (systematic)', resamplingSchemes))
    .option('--ess-threshold <share>', 'resample below this share of the particles (0.5)', number({ min: 0, max: 1 }))
    .option(
      '--ess-after <share>',
      'resample extreme weights alone, up to this share (1: all)',
      number({ max: 1, above: 0 }),
    )
    .option(
      '--weigh-above <sigma>',
      'smc: bridge weights, but none below this noise, where networks err; auto: as was measured (calibrate)',
      (text: string) => (text === 'auto' ? text : positive(text)),
    )
    .option('--allow-collapse', 'exit with 0 where the population collapsed, not 3')
    .option(
      '--adapt-levels [cess]',
      'smc: place --steps levels by pilot runs, or as many as keep this conditional ESS',
      parseShare,
    )
    .option('--control-drift', "smc: a drift of the models' gradients, fitted step by step to even the weights")
    .addOption(choice('--moves <kernel>', 'MCMC moves at every level of smc', ['mala', 'ula', 'hmc', 'uhmc']))
  partOption(command, '--output')
  common(
    command,
    'feynkac sample runs/energy/model.safetensors --attributes hair=3 --with pose=front --divide-prior --particles 256',
  ).action(async (given: string | undefined, own: SampleFlags) => {
    const { model, flags } = await settle(given, own, command)
    await applyThreads(flags)
    const ranks = await openRanks(flags)
    const { draw } = await import('./sample-run.js')
    const paths = outputs.map((name) => join(flags.output, name))
    if (speaks) {
      await prepareFolder(flags.output)
      await refuseOverwriting(paths, flags.overwrite ?? false)
    }
    const parted = flags.part && { ...(await recipe(model, flags)), parts: flags.part.count }
    const division = parted && (await divisionOf(flags, join(flags.output, 'parts'), parted))
    const drawn = await interruptible((signal) => draw(model, flags, { ranks, division }, signal))
    const unsound = drawn.summary.collapsed && !flags.allowCollapse
    if (!speaks) {
      if (unsound) throw new Unsound()
      return
    }
    // what is left of a run before does not belong to these samples
    await removeFiles(paths)
    const files = await write(flags.output, { ...drawn, report: { ...(await recipe(model, flags)), ...drawn.report } })
    await division?.close()
    // first what decides whether the rest means anything
    const { collapsed, note, ...figures } = drawn.summary
    const first = { ...(collapsed !== undefined && { collapsed }), ...(note !== undefined && { note }) }
    const summary = { ...first, model, files, particles: flags.particles, ...figures }
    if (flags.json) console.log(JSON.stringify(summary))
    else for (const [name, value] of Object.entries(summary)) console.log(`${name.padEnd(14)} ${text(value)}`)
    if (unsound) throw new Unsound('--allow-collapse exits with 0 all the same')
  })
}

/** Bytes that are read and hashed at once: half a millisecond. */
const PIECE = 2 ** 19

/** Options that say where and how a run goes, not what it draws. */
const unrecorded = ['output', 'overwrite', 'again', 'json', 'verbose', 'threads', 'device', 'allowCollapse', 'part']

/** All that it takes to draw the same samples again, for samples.json. */
async function recipe(model: string, flags: SampleFlags): Promise<object> {
  const options = Object.fromEntries(Object.entries(flags).filter(([name]) => !unrecorded.includes(name)))
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
    options: { ...options, seed: flags.seed ?? 0 },
  }
}

/** SHA-256 of a file of weights; null of a folder. */
async function digestOf(path: string): Promise<string | null> {
  if ((await found(path))?.isDirectory()) return null
  const hash = createHash('sha256')
  const { handle, size } = await openFile(path)
  try {
    const piece = new Uint8Array(Math.min(PIECE, size))
    for (let at = 0; at < size; at += piece.length) {
      const part = piece.subarray(0, size - at)
      await readFully(handle, part, at, path)
      hash.update(part)
    }
  } finally {
    await release(handle)
  }
  return hash.digest('hex')
}

/** Throws ArgumentError where a file of a run before is not the one that it was then. */
async function sameFiles(digests: unknown, again: string): Promise<void> {
  if (digests === undefined) return // of a version that did not record them
  if (!isObject(digests)) return formatFailure(again)('sha256: expected the digests of the models')
  for (const [file, digest] of Object.entries(digests))
    if (digest !== (await digestOf(file)))
      throw new ArgumentError(`${file} has changed since the samples of ${again} were drawn: give a model to draw with another`) // biome-ignore format: one line
}

/** The model and the options: those of the run before where they are not given. Throws ArgumentError, FileError, FormatError. */
async function settle(model: string | undefined, flags: SampleFlags, command: Command) {
  if (flags.again === undefined) {
    if (model === undefined)
      throw new ArgumentError('sample: expected a model, or --again with the samples.json of a run')
    return { model, flags }
  }
  const before = parseJsonObject(await readFileChecked(flags.again), flags.again)
  const { model: earlier, options, sha256 } = before
  if (typeof earlier !== 'string' || !isObject(options))
    return formatFailure(flags.again)('it does not say how its samples were drawn: is it the samples.json of a run?')
  const chosen = Object.entries(flags).filter(([name]) => command.getOptionValueSource(name) !== 'default')
  const settled = { ...flags, ...options, ...Object.fromEntries(chosen) } as SampleFlags
  if (model === undefined) await sameFiles(sha256, flags.again)
  return { model: model ?? earlier, flags: settled }
}

function text(value: unknown): string {
  if (typeof value === 'number' && !Number.isInteger(value)) return value.toPrecision(6)
  return Array.isArray(value) ? value.join(', ') : String(value)
}

function parseClass(value: string): number | string {
  return /^\d+$/.test(value) ? Number(value) : value
}

function parseShare(value: string): number {
  const share = number({ above: 0 })(value)
  if (share >= 1) throw new InvalidArgumentError('Expected a share of the particles below 1.')
  return share
}

function parseInterval(value: string): [number, number] {
  const [lo, hi, ...rest] = value.split(',').map(number({ min: 0 }))
  if (rest.length > 0 || !(lo! < hi!)) throw new InvalidArgumentError('Expected two noise levels, lo < hi.')
  return [lo!, hi!]
}

function parseBox(value: string): [number, number] {
  const bounds = value.split(',').map(number())
  if (bounds.length !== 2 || !(bounds[0]! < bounds[1]!)) throw new InvalidArgumentError('Expected two bounds, lo < hi.')
  return bounds as [number, number]
}

/** What the command writes; of another run there may be more of them. */
const outputs = ['samples.npy', 'samples.json', 'latents.npy', 'weights.npy', 'genealogy.png', 'samples.png']

async function write(folder: string, drawn: Drawn): Promise<string[]> {
  const { samples, logWeights, shape, shown, latents, genealogy, report } = drawn
  const { writeNpy } = await import('../data/npy-write.js')
  const { gridPng } = await import('../data/grid.js')
  const count = samples.length / sizeOf(shape)
  const path = (name: string) => join(folder, name)
  const files = [path('samples.npy'), path('samples.json')]
  await writeNpy(files[0]!, samples, [count, ...shape])
  await writeFileAtomic(files[1]!, `${JSON.stringify(report, null, 1)}\n`)
  if (latents) {
    files.push(path('latents.npy'))
    await writeNpy(files.at(-1)!, latents.samples, [count, ...latents.shape])
  }
  if (logWeights) {
    files.push(path('weights.npy'))
    await writeNpy(files.at(-1)!, logWeights.map(Math.exp), [count])
  }
  const picture = async (name: string, draw: () => Promise<Buffer>) => {
    try {
      await writeFileAtomic(path(name), [await draw()])
      files.push(path(name))
    } catch (error) {
      if (!(error instanceof MissingPackageError)) throw error
      process.stderr.write(`${name} is left out: ${error.message}\n`)
    }
  }
  if (genealogy) await picture('genealogy.png', genealogy)
  if (shape.length === 3) await picture('samples.png', () => gridPng(shown, shape))
  return files
}
