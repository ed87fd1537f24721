// Trainings by the recipes of others, as published, in this engine: the same network, but for label maps, and the same data.
//
// - EDM (Karras et al. 2022; NVlabs/edm, train.py): Adam, ln sigma -1.2 +- 1.2, dropout 0.13, no clipping, warm-up over 10 of 200 million images and an
//   average with a half-life of half a million, both as shares of the run. Its augmentation, which tells the network what it did, has no place here.
// - diffusers (examples/unconditional_image_generation): AdamW of 1e-4 and betas of 0.95 and 0.999, batches of 16, a warm-up of 500 steps and a cosine
//   to 0, the mean square of the noise predicted at 1000 uniform times of DDPM's linear schedule, an average with 1 - (1 + steps)^-(3/4), gradients
//   clipped at 1. Its decay of weights, 1e-6 of the rate, is left out. It knows no labels; here it is given them.
import { Denoiser } from '../../../dist/index.js'
import { native, purpose, run, uniformAt } from '../../../dist/internal.js'
import { networkFor } from '../../../dist/training/architecture.js'
import { Batches } from '../../../dist/training/batches.js'
import { emaDecay } from '../../../dist/training/schedule.js'

/** Noise levels of DDPM's times 0 .. 999, linear betas. */
const ddpm = (() => {
  let kept = 1
  return Array.from({ length: 1000 }, (_, t) => {
    kept *= 1 - (1e-4 + ((0.02 - 1e-4) * t) / 999)
    return Math.sqrt((1 - kept) / kept)
  })
})()

const edm = (batchSize, lr) => ({
  batchSize,
  fixed: { beta1: 0.9, beta2: 0.999, clip: 0, dropout: 0.13, pMean: -1.2, pStd: 1.2 },
  rate: (images, total) => lr * Math.min(1, images / (total / 20)),
  average: (images, total) => emaDecay(total / 400, images, batchSize),
})

const diffusers = (lr) => ({
  batchSize: 16,
  fixed: { beta1: 0.95, beta2: 0.999, clip: 1, dropout: 0, pMean: -1.2, pStd: 1.2 },
  noise: ddpm,
  rate: (images, total) => {
    const [step, last] = [images / 16, total / 16]
    const part = Math.min(1, Math.max(0, step - 500) / Math.max(1, last - 500))
    return lr * Math.min(1, step / 500) * (0.5 + 0.5 * Math.cos(Math.PI * part))
  },
  average: (images) => Math.min(0.9999, 1 - (1 + images / 16) ** -0.75),
})

export const others = {
  'EDM, batch 512, lr 1e-3': edm(512, 1e-3),
  'EDM, batch 32, lr 1e-3': edm(32, 1e-3),
  'EDM, batch 32, lr 2e-4': edm(32, 2e-4),
  'diffusers, lr 1e-4': diffusers(1e-4),
  'diffusers, lr 1e-3': diffusers(1e-3),
  'the defaults before': {
    batchSize: 128,
    labelDropout: 0.1,
    fixed: { beta1: 0.9, beta2: 0.999, clip: 1, dropout: 0, pMean: -1.2, pStd: 1.2 },
    rate: (images, total) => 1e-3 * Math.min(1, images / (total / 20)),
    average: (images, total) => emaDecay(total / 20, images, 128),
  },
}

/** A denoiser of `images` of a run of `total`, by one of the recipes; its averaged weights. */
export async function trainAs(name, data, { seed, images, total = images }) {
  const { batchSize, labelDropout = 0, fixed, noise, rate, average } = others[name]
  const { labels, shape } = data
  const dims = labels.attributes.reduce((sum, { size }) => sum + size, 0)
  const times = ddpm.map((_, t) => t)
  const model = await Denoiser.create(
    {
      network: networkFor(shape, dims, { labelMaps: false }),
      labels,
      ...(noise && {
        preconditioning: { form: 'epsilon', noise: { kind: 'table', sigmas: ddpm, times, rounding: 'linear' } },
        sigmaMin: ddpm[0],
      }),
    },
    { seed },
  )
  const batches = new Batches(data, labels, { seed, batchSize, flips: false, labelDropout })
  const request = {
    ...{ kind: 'denoiser', headScale: 1, energyWeight: 1, eps: 1e-8, muon: 0, ...fixed, seed },
    ...{ microBatch: Math.min(batchSize, 128), sigmaMin: Number.MIN_VALUE, sigmaMax: Number.MAX_VALUE },
    ...{ losses: new Float64Array(batchSize), sigmas: new Float64Array(batchSize) },
  }
  for (let step = 1; (step - 1) * batchSize < images; step++) {
    const seen = step * batchSize
    const batch = await batches.prepare(step)
    const asked = noise ? noised(batch, batchSize, seed, step, noise) : batch
    const schedule = { lr: rate(seen, total), emaDecay: average(seen - batchSize, total) }
    await run(() => model.network.train({ ...request, ...asked, ...schedule, step }))
  }
  const weights = new Float32Array(model.network.parameterCount())
  await run(() => model.network.read('ema', weights))
  await run(() => model.network.write('params', weights))
  return model
}

/** States at uniform times, a level each, with the clean pictures for targets. */
function noised({ x0, labels }, rows, seed, step, levels) {
  const size = x0.length / rows
  const normals = new Float32Array(x0.length)
  native.normals(normals, rows, seed, purpose.noise, step)
  const time = (row) => Math.floor(levels.length * uniformAt(seed, purpose.sigma, step, row, 0))
  const states = Float64Array.from({ length: rows }, (_, row) => levels[time(row)])
  return { x0: x0.map((v, k) => v + states[Math.floor(k / size)] * normals[k]), labels, states, targets: x0 }
}
