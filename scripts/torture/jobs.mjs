import fs from 'node:fs'
import path from 'node:path'
import { main } from '../../dist/cli/index.js'
import { writeNpy } from '../../dist/data/npy-write.js'
import { Classifier, Denoiser, EnergyModel, residualMLP, songUNet, unet2d } from '../../dist/index.js'

/** Short runs of the commands in this process, for the trials that repeat them a thousand times. */

/** Runs a command; what it says on its outputs, and its status. */
export async function command(argv) {
  const said = { out: '', err: '' }
  const streams = { out: process.stdout, err: process.stderr }
  const before = { out: process.stdout.write, err: process.stderr.write }
  for (const name of ['out', 'err'])
    streams[name].write = (text) => {
      said[name] += text
      return true
    }
  try {
    return { ...said, status: await main([...argv, '--threads', '1']), ...said }
  } finally {
    for (const name of ['out', 'err']) streams[name].write = before[name]
  }
}

const network = ['--width', '4', '--channel-mult', '1', '--blocks', '1']
const often = ['--images', '16', '--batch', '8', '--checkpoint-every', '8', '--log-every', '8']

/**
 * For each: the arguments in a folder that `prepare` has filled, the files or folders that it makes, and whether its answer is on the output.
 */
export const jobs = {
  train: {
    argv: (at) => ['train', '--data', at('pictures'), '--output', at('run'), '--resume', 'auto', ...often, ...network],
    makes: ['run'],
  },
  sample: {
    argv: (at) => [
      'sample',
      at('energy.safetensors'),
      '--output',
      at('samples'),
      '--overwrite',
      '--particles',
      '8',
      '--steps',
      '3',
      '--allow-collapse',
    ],
    makes: ['samples'],
  },
  evaluate: {
    native: false,
    argv: (at) => [
      'evaluate',
      '--samples',
      at('points.npy'),
      '--data',
      at('others.npy'),
      '--metrics',
      'frechet,mmd,coverage',
      '--json',
    ],
    makes: [],
    answers: true,
  },
  features: {
    argv: (at) => [
      ...['evaluate', '--samples', at('pictures'), '--data', at('pictures'), '--metrics', 'frechet', '--json'],
      ...['--features', at('classifier.safetensors'), '--channels', '1', '--batch', '4'],
    ],
    makes: [],
    answers: true,
  },
  fit: {
    native: false,
    argv: (at) => ['fit', at('pictures'), '--images', '8', '--output', at('fit')],
    once: true, // where one has ended well, another is refused
    makes: ['fit'],
  },
  edm: {
    argv: (at) => ['convert', at('unet.safetensors'), at('unet.pt'), '--to', 'edm', '--overwrite'],
    makes: ['unet.pt', 'unet.pt.json'],
  },
  diffusers: {
    argv: (at) => ['convert', at('other.safetensors'), at('diffusers'), '--to', 'diffusers', '--overwrite'],
    makes: ['diffusers'],
  },
  distill: {
    argv: (at) => [
      'distill',
      '--teacher',
      at('teacher.safetensors'),
      '--data',
      at('others.npy'),
      '--output',
      at('run'),
      '--resume',
      'auto',
      '--calibrate',
      '4',
      ...often,
    ],
    makes: ['run'],
  },
}

/** Fills a folder with what the jobs read. */
export async function prepare(folder) {
  const { writePng } = await import('./pictures.mjs')
  const at = (name) => path.join(folder, name)
  fs.mkdirSync(at('pictures'))
  for (let i = 0; i < 8; i++) await writePng(at(`pictures/${i}.png`), 8, i)
  const points = (from) => Float32Array.from({ length: 48 }, (_, i) => Math.sin(from + i * i))
  await writeNpy(at('points.npy'), points(0), [24, 2])
  await writeNpy(at('others.npy'), points(1), [24, 2])
  const energy = await EnergyModel.create(
    { network: residualMLP(2, { hidden: 8, layers: 1 }), kind: 'dot' },
    { seed: 1 },
  )
  await energy.save(at('energy.safetensors'))
  energy.dispose()
  const teacher = await Denoiser.create({ network: residualMLP(2, { hidden: 8, layers: 1 }) }, { seed: 1 })
  await teacher.save(at('teacher.safetensors'))
  teacher.dispose()
  const small = { block_out_channels: [8], down_block_types: ['DownBlock2D'], up_block_types: ['UpBlock2D'], layers_per_block: 1, norm_num_groups: 1 } // biome-ignore format: one line
  for (const [name, network] of [
    ['unet', songUNet([1, 8, 8], { model_channels: 4, channel_mult: [1], num_blocks: 1 })],
    ['other', unet2d([1, 8, 8], small)],
  ]) {
    const model = await Denoiser.create({ network }, { seed: 1 })
    await model.save(at(`${name}.safetensors`))
    model.dispose()
  }
  const classifier = await Classifier.create(
    {
      network: { class: 'ConvClassifier', shape: [1, 8, 8], args: { in_channels: 1, block_out_channels: [4], layers_per_block: 1, norm_num_groups: 1, classes: [2] } }, // biome-ignore format: one line
      labels: { attributes: [{ name: 'class', size: 2 }] },
    },
    { seed: 1 },
  )
  await classifier.save(at('classifier.safetensors'))
  classifier.dispose()
}

/** What a job has made: files by name, without what differs from run to run (times). */
export function made(folder, { makes }) {
  const files = {}
  const walk = (name) => {
    const at = path.join(folder, name)
    if (!fs.existsSync(at)) return
    if (fs.statSync(at).isDirectory()) for (const each of fs.readdirSync(at).sort()) walk(path.join(name, each))
    else files[name] = withoutTimes(name, fs.readFileSync(at))
  }
  for (const name of makes) walk(name)
  return files
}

const TIMES = /"(seconds|imagesPerSecond|time|elapsed|rate|process)":[^,}]*/g
function withoutTimes(name, bytes) {
  if (/\.jsonl$|fit\.json$/.test(name)) return Buffer.from(bytes.toString().replace(TIMES, '"$1":0'))
  return /report\.(html|md)$/.test(name) ? Buffer.from(bytes.toString().replace(/\d+ seconds/, '')) : bytes
}

export function remove(folder, { makes }) {
  for (const name of makes) fs.rmSync(path.join(folder, name), { recursive: true, force: true })
}
