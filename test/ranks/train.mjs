// Small trainings of every kind, one after the other: train.mjs FOLDER DENOISER [NAME [kill]]. DENOISER: the model's file of that training, the
// teacher of others. kill: after half of the steps the last rank is killed.
import { join } from 'node:path'
import {
  communicator,
  distill,
  loadDataset,
  setThreads,
  trainAutoencoder,
  trainClassifier,
  trainDenoiser,
  trainEnergy,
} from '../../dist/index.js'

const [folder, teacher, only, kill] = process.argv.slice(2)
const ranks = await communicator()
setThreads(1)
const points = await loadDataset('synthetic:checkerboard:count=200,seed=1')
const pictures = await loadDataset('synthetic:shapes:count=48,size=8,seed=1')

const STEPS = 10
const common = {
  ...{ ranks, device: 'cpu', seed: 4, resume: 'auto' },
  ...{ images: 12 * STEPS, batchSize: 12, microBatch: 2, checkpointEvery: 24, logEvery: 24 },
}
const vectors = { ...common, data: points, network: { width: 8, blocks: 1 } }
const images = { ...common, data: pictures, network: { width: 4, channelMult: [1], blocks: 1 } }
const student = { ...vectors, teacher, calibrate: false }

const trainings = {
  denoiser: [trainDenoiser, vectors],
  'denoiser-images': [trainDenoiser, { ...images, flips: true, dropout: 0.1, labelDropout: 0.2, holdOut: 0.2 }],
  'denoiser-half': [trainDenoiser, { ...images, smallFirst: 0.5, augment: 0.5 }],
  'denoiser-plain': [trainDenoiser, { ...images, references: 0, sharpened: 0, muon: 0, conditional: false }],
  joint: [trainEnergy, { ...vectors, head: 'joint', energyWeight: 0.5 }],
  'joint-images': [trainEnergy, { ...images, head: 'joint' }],
  'energy-images': [trainEnergy, { ...images, head: 'dot', levelWeight: 0.5, conditional: false }],
  'distil-path': [distill, { ...student, head: 'residual', pathWeight: 0.5 }],
  'distil-own': [distill, { ...student, head: 'dot', selfPlay: 8, init: 'random' }],
  'distil-table': [distill, { ...student, head: 'dot', levelWeight: 0.5, calibrate: 16 }],
  autoencoder: [trainAutoencoder, { ...images, noise: 0.1 }],
  classifier: [trainClassifier, { ...images, noise: 0.1 }],
}
for (const head of ['dot', 'l2', 'norm', 'residual']) {
  trainings[`energy-${head}`] = [trainEnergy, { ...vectors, head, levelWeight: 0.5 }]
  trainings[`distil-${head}`] = [distill, { ...student, head }]
}

const pids = await ranks.allGather(Int32Array.of(process.pid))
for (const name of only ? [only] : Object.keys(trainings)) {
  const [train, options] = trainings[name]
  const onProgress = ({ step }) => kill && step === STEPS / 2 && process.kill(pids.at(-1), 'SIGKILL')
  const { model } = await train({ ...options, output: join(folder, name), onProgress })
  await model.dispose()
}
if (ranks.rank === 0) console.log(Object.keys(trainings).join())
