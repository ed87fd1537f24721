import os from 'node:os'
import type { Command } from 'commander'
import { formatBytes } from '../base/files.js'
import type { LabelSpec } from '../data/dataset.js'
import type { ModelInfo } from '../models/info.js'
import { labelSpecOf } from '../models/labels.js'
import type { LoadOptions } from '../models/load.js'
import type { StoredTables } from '../models/tables.js'
import { run } from '../native/addon.js'
import type { NativeNetwork } from '../native/types.js'
import type { NoiseConditioning } from '../networks/noise-conditioning.js'
import { noisyBelow, PER_OCTAVE } from '../smc/consistency.js'
import type { Consistency } from '../smc/energy-function.js'
import { describeRecipe } from '../training/recipe.js'
import type { SourceModel } from '../weights/source-model.js'
import { convolutionShapes, describeConvolutions } from './convolutions.js'
import { applyThreads, type CommonOptions, common, count, deviceOf } from './options.js'
import { type SourceFlags, sourceFlags, sourceOptions } from './source-options.js'

interface Flags extends CommonOptions, SourceFlags {
  batch: number
}

interface Need {
  job: string
  /** Activations at the batch asked for. */
  bytes: number
  /** The largest batch for which they fit, with the weights, in the memory of each device that is free now. */
  largestBatch: Record<string, number>
}

export function register(program: Command): void {
  const command = sourceFlags(
    program
      .command('inspect')
      .description(
        'Show what a model holds, in any format that convert reads, and the memory that its jobs need; with --verbose also by which algorithm ' +
          'each shape of convolution is done.',
      )
      .argument('<source>', 'model.safetensors, or a file or folder of another framework'),
  ).option('--batch <number>', 'batch for the memory figures', count(), 64)
  common(command, 'feynkac inspect runs/energy/model.safetensors --batch 256').action(
    async (file: string, flags: Flags) => {
      await applyThreads(flags)
      const { readSource } = await import('../weights/source.js')
      const { isAutoencoder, isClassifier } = await import('../models/import.js')
      const options = await sourceOptions(flags)
      const source = await readSource(file, { network: options.network })
      const found = isAutoencoder(source)
        ? await ofAutoencoder(source, flags)
        : isClassifier(source)
          ? await ofClassifier(source, flags)
          : await ofModel(source, { ...deviceOf(flags), ...options }, flags)
      if (flags.json) console.log(JSON.stringify({ file, ...found.json, batch: flags.batch }))
      else console.log([file, ...found.lines].join('\n'))
    },
  )
}

/** What is shown of a model, for programs and for people. */
interface Shown {
  json: object
  lines: string[]
}

async function ofModel(source: SourceModel, options: LoadOptions, flags: Flags): Promise<Shown> {
  const { modelFrom } = await import('../models/load.js')
  const { info, network, notes } = await modelFrom(source, options)
  try {
    const parameters = network.parameterCount()
    const memory = needs(network, info, flags.batch, await freeOnDevices())
    const { calibration, ...rest } = info
    const convolutions = flags.verbose ? await convolutionShapes(network, flags.batch) : undefined
    const holds = await heldBy(network)
    return {
      json: {
        notes,
        ...rest,
        precisions: summary(calibration),
        parameters,
        weights: weightsOf(parameters),
        held: holds,
        memory,
        convolutions,
      },
      lines: [
        ...describeModel(info),
        ...describeNetwork(info.network, parameters),
        `noise       ${describeNoise(info)}`,
        ...describeLabels(labelSpecOf(info)),
        ...describeTables(calibration),
        ...describeTraining(info.training),
        ...describeHeld(holds),
        ...describeMemory(memory, flags.batch),
        ...(convolutions ? describeConvolutions(convolutions) : []),
        ...notes.map((note) => `note        ${note}`),
      ],
    }
  } finally {
    network.dispose()
  }
}

async function ofAutoencoder(source: SourceModel, flags: Flags): Promise<Shown> {
  const { Autoencoder } = await import('../models/autoencoder.js')
  using model = await Autoencoder.from(source, deviceOf(flags))
  const { latentShape } = model
  return await ofImageNetwork(flags, model, ['encode', 'decode', 'train'], { latentShape }, [
    `latents     ${latentShape.join(' x ')}`,
  ])
}

async function ofClassifier(source: SourceModel, flags: Flags): Promise<Shown> {
  const { Classifier } = await import('../models/classifier.js')
  const { describeAccuracy } = await import('./train-classifier.js')
  using model = await Classifier.from(source, deviceOf(flags))
  const { featureSize, labels, accuracy } = model
  return await ofImageNetwork(flags, model, ['classify', 'train'], { featureSize }, [
    `features    ${featureSize}`,
    ...describeLabels(labels),
    `accuracy    ${describeAccuracy(labels, accuracy)}`,
  ])
}

/** A network of images that knows no noise levels: its description, what it does, and the memory of its jobs. */
async function ofImageNetwork<Job extends string>(
  { batch, verbose }: Flags,
  {
    info,
    network,
  }: {
    info: ImageNetworkInfo
    network: Pick<NativeNetwork, 'parameterCount' | 'convolutions' | 'bytesHeld'> & {
      workingBytes(job: Job, batch: number): number
    }
  },
  jobs: readonly Job[],
  json: object,
  lines: readonly string[],
): Promise<Shown> {
  const parameters = network.parameterCount()
  const free = await freeOnDevices()
  const memory = jobs.map((job) =>
    needOf(job, batch, job === 'train', parameters, free, (n) => network.workingBytes(job, n)),
  )
  const convolutions = verbose ? await convolutionShapes(network, batch) : undefined
  const holds = await heldBy(network)
  return {
    json: { ...info, ...json, parameters, weights: weightsOf(parameters), held: holds, memory, convolutions },
    lines: [
      `kind        ${info.kind}`,
      `images      ${info.network.shape.join(' x ')}`,
      ...lines,
      ...describeNetwork(info.network, parameters),
      ...describeHeld(holds),
      ...describeMemory(memory, batch),
      ...(convolutions ? describeConvolutions(convolutions) : []),
    ],
  }
}

interface ImageNetworkInfo {
  kind: string
  network: { class: string; args: object; shape: readonly number[] }
}

/** Bytes that are free now, by device. */
async function freeOnDevices(): Promise<Map<string, number>> {
  const { devices, freeMemory } = await import('../native/devices.js')
  return new Map(devices().map(({ name }) => [name, freeMemory(name) ?? os.freemem()]))
}

/** Bytes that a loaded model holds, beside the working memory of its jobs, and how many of them are for packed convolutions. */
interface Held {
  bytes: number
  packedBytes: number
}

async function heldBy(network: Pick<NativeNetwork, 'bytesHeld' | 'convolutions'>): Promise<Held> {
  const shapes = await run(() => network.convolutions(1))
  return { bytes: network.bytesHeld(), packedBytes: shapes.reduce((sum, { packedBytes }) => sum + packedBytes, 0) }
}

function describeHeld({ bytes, packedBytes }: Held): string[] {
  const packed =
    packedBytes > 0 ? `, of which ${formatBytes(packedBytes)} for packed convolutions, used from its first job on` : ''
  return [`memory      held by the model: ${formatBytes(bytes)}${packed}`]
}

/** Bytes of weights; in training with their average, gradient and moments. */
function weightsOf(parameters: number) {
  return { bytes: 4 * parameters, trainingBytes: 5 * 4 * parameters }
}

function needs(network: NativeNetwork, { kind }: ModelInfo, batch: number, free: Map<string, number>): Need[] {
  const need = (job: string, native: 'denoise' | 'energyGrad' | 'train', head: ModelInfo['kind']): Need =>
    needOf(job, batch, native === 'train', network.parameterCount(), free, (n) => network.workingBytes(native, head, n))
  if (kind === 'denoiser')
    return [
      need('denoise', 'denoise', kind),
      need('train (score matching)', 'train', kind),
      need('distil into a dot energy (student)', 'train', 'dot'),
    ]
  if (kind === 'joint')
    return [
      need('energy and score', 'denoise', kind),
      need('energy and its gradient', 'energyGrad', kind),
      need('train', 'train', kind),
    ]
  return [need('energy and gradient', 'energyGrad', kind), need('distil (student)', 'train', kind)]
}

function needOf(
  job: string,
  batch: number,
  training: boolean,
  parameters: number,
  free: Map<string, number>,
  bytesOf: (batch: number) => number,
): Need {
  const weights = weightsOf(parameters)
  const held = training ? weights.trainingBytes : weights.bytes
  const one = bytesOf(1)
  // linear in the batch but for a constant part
  const slope = (bytesOf(9) - one) / 8
  const largest = (bytes: number) => Math.max(0, Math.floor(1 + (bytes - held - one) / slope))
  return {
    job,
    bytes: bytesOf(batch),
    largestBatch: Object.fromEntries([...free].map(([device, bytes]) => [device, largest(bytes)])),
  }
}

function describeModel({ kind, headScale, network, latent }: ModelInfo): string[] {
  const scale = kind === 'dot' || kind === 'joint' ? `, a = ${headScale}` : ''
  const what =
    kind === 'denoiser' ? 'denoiser' : `${kind === 'joint' ? 'denoiser and ' : ''}energy, head ${kind}${scale}`
  return [`kind        ${what}`, `samples     ${network.shape.join(' x ')}${latent ? ', latents of pictures' : ''}`]
}

function describeNetwork({ class: name, args }: { class: string; args: object }, parameters: number): string[] {
  return [
    `network     ${name}, ${parameters.toLocaleString('en')} parameters (${formatBytes(4 * parameters)})`,
    ...Object.entries(args).map(([key, value]) => `            ${key}: ${JSON.stringify(value)}`),
  ]
}

function describeLabels(labels: LabelSpec | null): string[] {
  if (!labels) return ['labels      none']
  return labels.attributes.map(
    ({ name, size, values }) => `labels      ${name}: ${size} values${values ? ` (${values.join(', ')})` : ''}`,
  )
}

/** What there is of tables of precisions; null: none. */
function summary(tables: StoredTables | undefined) {
  if (!tables) return null
  const { sigmas, variances, count } = tables.unconditional
  const { consistency } = tables.conditional ?? tables.unconditional
  return {
    ...{ levels: sigmas.length, groups: variances[0]!.length, draws: count, labels: tables.conditional !== undefined },
    ...(consistency && { consistency, noisyBelow: noisyBelow(consistency) }),
  }
}

function describeTables(tables: StoredTables | undefined): string[] {
  const found = summary(tables)
  if (!found) return []
  const { levels, groups, draws, labels } = found
  const also = labels ? ', without labels and with' : ''
  const { consistency } = tables!.conditional ?? tables!.unconditional
  return [
    `calibrated  ${groups} precisions at ${levels} noise levels, from ${draws} draws of data${also}`,
    ...(consistency ? describeConsistency(consistency) : []),
  ]
}

/** The variances of the weights of its own samples by octaves of noise, and what they say. */
function describeConsistency(consistency: Consistency): string[] {
  const { bands, data, perOctave } = consistency
  const cell = (value: number) => ` ${Number(value.toPrecision(2))}`.padStart(9)
  const below = noisyBelow(consistency)
  const verdict =
    below > 0
      ? `the energy's weights are noise below sigma = ${below.toPrecision(2)}: train longer, or weigh above it (--weigh-above auto)`
      : 'small variances, which condemn nothing and prove nothing'
  const coarse =
    perOctave < PER_OCTAVE
      ? [`            of ${perOctave} levels an octave, which have more of their own than ${PER_OCTAVE}: feynkac calibrate measures by these`] // biome-ignore format: one line
      : []
  return [
    `weights     ${verdict}`,
    ...coarse,
    `            sigma from, to: variance of the log-weights by ${perOctave} levels an octave (by quartiles), sum over steps, all from the top${data ? '; on noised data by quartiles, sum over steps' : ''}`,
    ...bands.map(({ from, to, variance, robust, steps, above }, b) => {
      const known = data?.[b]
      const also = known ? `;${cell(known.robust)}${cell(known.steps)}` : ''
      return `            ${cell(from)}${cell(to)}:${cell(variance)} (${cell(robust).trim()})${cell(steps)}${cell(above)}${also}`
    }),
  ]
}

function describeTraining(training: ModelInfo['training']): string[] {
  if (!training) return []
  const { images, heldOut, averagedAt = images } = training
  const when = averagedAt < images ? `, the best of the run, after ${averagedAt} images` : ''
  const loss = heldOut === null ? [] : [`held out    loss ${heldOut.toPrecision(4)}${when}`]
  return [`trained     ${images} images: ${describeRecipe(training)}`, ...loss]
}

function describeMemory(memory: Need[], batch: number): string[] {
  return memory.map(({ job, bytes, largestBatch }) => {
    const largest = Object.entries(largestBatch).map(([device, n]) => `${n} on ${device}`)
    return `memory      ${job}: ${formatBytes(bytes)} at batch ${batch}; largest batch now ${largest.join(', ')}`
  })
}

const forms = {
  edm: "EDM's preconditioning",
  epsilon: 'predicts the noise',
  v: 'predicts v',
  sample: 'predicts the clean sample',
  ve: 'variance exploding',
}

function describeNoise({ preconditioning, sigmaMin, sigmaMax }: ModelInfo): string {
  const { form, sigmaData, noise } = preconditioning
  const data = form === 'edm' ? `, sigma_data ${sigmaData}` : ''
  return `sigma from ${sigmaMin} to ${sigmaMax}${data}; ${forms[form]}, ${told(noise)}`
}

/** What the network is told of the noise level. */
function told(noise: NoiseConditioning): string {
  if (noise.kind === 'table') return `${noise.sigmas.length} levels`
  if (noise.kind === 'vp') return `beta_d ${noise.betaD}, beta_min ${noise.betaMin}`
  return `c_noise = ${noise.scale} ln(sigma)${noise.offset === 0 ? '' : ` + ${noise.offset}`}`
}
