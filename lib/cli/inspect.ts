import os from 'node:os'
import type { Command } from 'commander'
import { formatBytes } from '../files.js'
import { labelSpecOf } from '../models/labels.js'
import type { ModelInfo } from '../models/model-file.js'
import type { NativeNetwork } from '../native.js'
import { applyThreads, type CommonOptions, common, count, deviceOf } from './options.js'

interface Flags extends CommonOptions {
  batch: number
}

interface Need {
  job: string
  /** Activations at the batch asked for, and the largest batch for which they fit in the memory that is free now. */
  bytes: number
  largestBatch: number
}

export function register(program: Command): void {
  common(
    program
      .command('inspect')
      .description('Show what a model file holds, and the memory that its jobs need.')
      .argument('<file>', 'model.safetensors')
      .option('--batch <number>', 'batch for the memory figures', count(), 64),
    'feynkac inspect runs/energy/model.safetensors --batch 256',
  ).action(async (file: string, flags: Flags) => {
    await applyThreads(flags)
    const { loadModel, readModelKind } = await import('../models/model-file.js')
    if ((await readModelKind(file)) === 'autoencoder') return inspectAutoencoder(file, flags)
    const { info, network } = await loadModel(file, deviceOf(flags))
    const parameters = network.parameterCount()
    const memory = needs(network, info, flags.batch)
    const weights = { bytes: 4 * parameters, trainingBytes: 5 * 4 * parameters }
    network.dispose()
    if (flags.json) console.log(JSON.stringify({ file, ...info, parameters, weights, batch: flags.batch, memory }))
    else print(file, info, parameters, flags.batch, memory)
  })
}

async function inspectAutoencoder(file: string, flags: Flags): Promise<void> {
  const { Autoencoder } = await import('../models/autoencoder.js')
  using model = await Autoencoder.load(file, deviceOf(flags))
  const { info, network, latentShape } = model
  const parameters = network.parameterCount()
  const memory = (['encode', 'decode', 'train'] as const).map((job) =>
    needOf(job, flags.batch, (batch) => network.workingBytes(job, batch)),
  )
  if (flags.json) {
    const weights = { bytes: 4 * parameters, trainingBytes: 5 * 4 * parameters }
    return console.log(JSON.stringify({ file, ...info, latentShape, parameters, weights, batch: flags.batch, memory }))
  }
  const { shape, args } = info.network
  console.log(`${file}
kind        autoencoder
images      ${shape.join(' x ')}
latents     ${latentShape.join(' x ')}`)
  printNetwork(info.network.class, args, parameters)
  printMemory(memory, flags.batch)
}

function needs(network: NativeNetwork, { kind }: ModelInfo, batch: number): Need[] {
  const need = (job: string, native: 'denoise' | 'energyGrad' | 'train', head: ModelInfo['kind']): Need =>
    needOf(job, batch, (n) => network.workingBytes(native, head, n))
  if (kind === 'denoiser')
    return [
      need('denoise', 'denoise', kind),
      need('train (score matching)', 'train', kind),
      need('distil into a dot energy (student)', 'train', 'dot'),
    ]
  return [need('energy and gradient', 'energyGrad', kind), need('distil (student)', 'train', kind)]
}

function needOf(job: string, batch: number, bytes: (batch: number) => number): Need {
  const one = bytes(1)
  // linear in the batch but for a constant part
  const slope = (bytes(9) - one) / 8
  return { job, bytes: bytes(batch), largestBatch: Math.max(0, Math.floor(1 + (os.freemem() - one) / slope)) }
}

function printNetwork(name: string, args: object, parameters: number): void {
  console.log(`network     ${name}, ${parameters.toLocaleString('en')} parameters (${formatBytes(4 * parameters)})`)
  for (const [key, value] of Object.entries(args)) console.log(`            ${key}: ${JSON.stringify(value)}`)
}

function printMemory(memory: Need[], batch: number): void {
  for (const { job, bytes, largestBatch } of memory)
    console.log(`memory      ${job}: ${formatBytes(bytes)} at batch ${batch}; largest batch now ${largestBatch}`)
}

function print(file: string, info: ModelInfo, parameters: number, batch: number, memory: Need[]): void {
  const { network, kind, headScale, sigmaData, sigmaMin, sigmaMax } = info
  const labels = labelSpecOf(info)
  const what = kind === 'denoiser' ? 'denoiser' : `energy, head ${kind}${kind === 'dot' ? `, a = ${headScale}` : ''}`
  console.log(`${file}
kind        ${what}
samples     ${network.shape.join(' x ')}`)
  printNetwork(network.class, network.args, parameters)
  console.log(`noise       sigma from ${sigmaMin} to ${sigmaMax}, sigma_data ${sigmaData}`)
  if (!labels) console.log('labels      none')
  for (const { name, size, values } of labels?.attributes ?? [])
    console.log(`labels      ${name}: ${size} values${values ? ` (${values.join(', ')})` : ''}`)
  printMemory(memory, batch)
}
