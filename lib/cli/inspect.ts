import os from 'node:os'
import type { Command } from 'commander'
import { formatBytes } from '../files.js'
import { labelSpecOf } from '../models/labels.js'
import type { ModelInfo } from '../models/model-file.js'
import type { NoiseConditioning } from '../models/noise-conditioning.js'
import type { NativeNetwork } from '../native.js'
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
      .description('Show what a model holds, in any format that convert reads, and the memory that its jobs need.')
      .argument('<source>', 'model.safetensors, or a file or folder of another framework'),
  ).option('--batch <number>', 'batch for the memory figures', count(), 64)
  common(command, 'feynkac inspect runs/energy/model.safetensors --batch 256').action(
    async (file: string, flags: Flags) => {
      await applyThreads(flags)
      const { loadModel } = await import('../models/load.js')
      const { info, network, notes } = await loadModel(file, { ...deviceOf(flags), ...(await sourceOptions(flags)) })
      try {
        const parameters = network.parameterCount()
        const weights = { bytes: 4 * parameters, trainingBytes: 5 * 4 * parameters }
        const memory = needs(network, info, flags.batch, weights, await freeOnDevices())
        if (flags.json)
          console.log(JSON.stringify({ file, notes, ...info, parameters, weights, batch: flags.batch, memory }))
        else print(file, info, notes, parameters, flags.batch, memory)
      } finally {
        network.dispose()
      }
    },
  )
}

/** Bytes that are free now, by device. */
async function freeOnDevices(): Promise<Map<string, number>> {
  const { devices, freeMemory } = await import('../devices.js')
  return new Map(devices().map(({ name }) => [name, freeMemory(name) ?? os.freemem()]))
}

function needs(
  network: NativeNetwork,
  { kind }: ModelInfo,
  batch: number,
  weights: { bytes: number; trainingBytes: number },
  free: Map<string, number>,
): Need[] {
  const need = (job: string, native: 'denoise' | 'energyGrad' | 'train', head: ModelInfo['kind']): Need => {
    const one = network.workingBytes(native, head, 1)
    // linear in the batch but for a constant part
    const slope = (network.workingBytes(native, head, 9) - one) / 8
    const held = native === 'train' ? weights.trainingBytes : weights.bytes
    const largest = (bytes: number) => Math.max(0, Math.floor(1 + (bytes - held - one) / slope))
    return {
      job,
      bytes: network.workingBytes(native, head, batch),
      largestBatch: Object.fromEntries([...free].map(([device, bytes]) => [device, largest(bytes)])),
    }
  }
  if (kind === 'denoiser')
    return [
      need('denoise', 'denoise', kind),
      need('train (score matching)', 'train', kind),
      need('distil into a dot energy (student)', 'train', 'dot'),
    ]
  return [need('energy and gradient', 'energyGrad', kind), need('distil (student)', 'train', kind)]
}

function print(
  file: string,
  info: ModelInfo,
  notes: string[],
  parameters: number,
  batch: number,
  memory: Need[],
): void {
  const { network, kind, headScale } = info
  const labels = labelSpecOf(info)
  const what = kind === 'denoiser' ? 'denoiser' : `energy, head ${kind}${kind === 'dot' ? `, a = ${headScale}` : ''}`
  console.log(`${file}
kind        ${what}
samples     ${network.shape.join(' x ')}
network     ${network.class}, ${parameters.toLocaleString('en')} parameters (${formatBytes(4 * parameters)})`)
  for (const [name, value] of Object.entries(network.args)) console.log(`            ${name}: ${JSON.stringify(value)}`)
  console.log(`noise       ${describeNoise(info)}`)
  if (!labels) console.log('labels      none')
  for (const { name, size, values } of labels?.attributes ?? [])
    console.log(`labels      ${name}: ${size} values${values ? ` (${values.join(', ')})` : ''}`)
  for (const { job, bytes, largestBatch } of memory) {
    const largest = Object.entries(largestBatch).map(([device, n]) => `${n} on ${device}`)
    console.log(`memory      ${job}: ${formatBytes(bytes)} at batch ${batch}; largest batch now ${largest.join(', ')}`)
  }
  for (const note of notes) console.log(`note        ${note}`)
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
