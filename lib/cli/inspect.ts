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
    const { loadModel } = await import('../models/model-file.js')
    const { info, network } = await loadModel(file, deviceOf(flags))
    const parameters = network.parameterCount()
    const memory = needs(network, info, flags.batch)
    const weights = { bytes: 4 * parameters, trainingBytes: 5 * 4 * parameters }
    network.dispose()
    if (flags.json) console.log(JSON.stringify({ file, ...info, parameters, weights, batch: flags.batch, memory }))
    else print(file, info, parameters, flags.batch, memory)
  })
}

function needs(network: NativeNetwork, { kind }: ModelInfo, batch: number): Need[] {
  const free = os.freemem()
  const need = (job: string, native: 'denoise' | 'energyGrad' | 'train', head: ModelInfo['kind']): Need => {
    const one = network.workingBytes(native, head, 1)
    // linear in the batch but for a constant part
    const slope = (network.workingBytes(native, head, 9) - one) / 8
    return {
      job,
      bytes: network.workingBytes(native, head, batch),
      largestBatch: Math.max(0, Math.floor(1 + (free - one) / slope)),
    }
  }
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

function print(file: string, info: ModelInfo, parameters: number, batch: number, memory: Need[]): void {
  const { network, kind, headScale, sigmaData, sigmaMin, sigmaMax } = info
  const labels = labelSpecOf(info)
  const scale = kind === 'dot' || kind === 'joint' ? `, a = ${headScale}` : ''
  const what =
    kind === 'denoiser' ? 'denoiser' : `${kind === 'joint' ? 'denoiser and ' : ''}energy, head ${kind}${scale}`
  console.log(`${file}
kind        ${what}
samples     ${network.shape.join(' x ')}
network     ${network.class}, ${parameters.toLocaleString('en')} parameters (${formatBytes(4 * parameters)})`)
  for (const [name, value] of Object.entries(network.args)) console.log(`            ${name}: ${JSON.stringify(value)}`)
  console.log(`noise       sigma from ${sigmaMin} to ${sigmaMax}, sigma_data ${sigmaData}`)
  if (!labels) console.log('labels      none')
  for (const { name, size, values } of labels?.attributes ?? [])
    console.log(`labels      ${name}: ${size} values${values ? ` (${values.join(', ')})` : ''}`)
  for (const { job, bytes, largestBatch } of memory)
    console.log(`memory      ${job}: ${formatBytes(bytes)} at batch ${batch}; largest batch now ${largestBatch}`)
}
