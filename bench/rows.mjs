// The rows of the benchmark: networks with their jobs, and jobs of particles; and the files that both sides read.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Denoiser, EnergyModel, songUNet } from '../dist/index.js'
import { native } from '../dist/native/addon.js'

const JOBS = ['denoise', 'energyGrad', 'dsm', 'distill']

const UNETS = [
  {
    name: '16x16x3, 32 ch [1,2]',
    batches: [16],
    shape: [3, 16, 16],
    args: { model_channels: 32, channel_mult: [1, 2], num_blocks: 1, attn_resolutions: [8] },
    jobs: JOBS,
  },
  {
    name: '28x28x1, 32 ch [1,2,2]',
    batches: [32],
    shape: [1, 28, 28],
    args: { model_channels: 32, channel_mult: [1, 2, 2], num_blocks: 1, attn_resolutions: [14] },
    jobs: JOBS,
  },
  {
    name: '32x32x3, 64 ch [1,2,2]',
    batches: [16],
    shape: [3, 32, 32],
    args: { model_channels: 64, channel_mult: [1, 2, 2], num_blocks: 2, attn_resolutions: [16] },
    jobs: JOBS,
  },
  {
    name: "EDM's CIFAR-10 network",
    batches: [1, 4],
    shape: [3, 32, 32],
    args: { model_channels: 128, channel_mult: [2, 2, 2], num_blocks: 4, attn_resolutions: [16] },
    jobs: ['denoise', 'energyGrad'],
  },
]
// attention over up to 1024 pixels; one more halving for every doubling of the image
const SIZES = [
  [32, 4, [1, 2]],
  [64, 4, [1, 1, 2]],
  [128, 2, [1, 1, 2, 2]],
  [256, 1, [1, 1, 2, 2, 2]],
].map(([side, batch, channel_mult]) => ({
  name: `${side}x${side}x3, 32 ch [${channel_mult}]`,
  batches: [batch],
  shape: [3, side, side],
  args: { model_channels: 32, channel_mult, num_blocks: 1, attn_resolutions: [32, 16] },
  jobs: JOBS,
}))
// what runs before each job of a network, so that its memory is its own
const SMALL = {
  index: 100,
  shape: [3, 8, 8],
  args: { model_channels: 16, channel_mult: [1], num_blocks: 1, attn_resolutions: [8] },
}
const COUNTS = [1e3, 1e4, 1e5, 1e6, 1e7]

const KINDS = { model: [Denoiser, 'denoiser'], teacher: [Denoiser, 'denoiser'], energy: [EnergyModel, 'dot'] }
const rolesOf = (job) => (job === 'energyGrad' ? ['energy'] : job === 'distill' ? ['model', 'teacher'] : ['model'])

/** Writes a model whose layers are nowhere near zero, as a trained network's are; both sides read it. */
async function model(folder, { shape, args }, index, role) {
  const [Model, kind] = KINDS[role]
  const made = await Model.create({ network: songUNet(shape, { dropout: 0, ...args }), kind })
  const flat = new Float32Array(made.network.parameterCount())
  native.normals(flat, 1, index, 11, role === 'teacher' ? 1 : 2)
  for (const p of made.network.parameters()) {
    const fanIn = p.shape.length > 1 ? p.size / p.shape[0] : 100
    const mean = /norm\d?\.weight$/.test(p.name) ? 1 : 0
    for (let i = p.offset; i < p.offset + p.size; i++) flat[i] = mean + flat[i] / Math.sqrt(fanIn)
  }
  await made.network.write('params', flat).promise
  const path = join(folder, `${index}-${role}.safetensors`)
  await made.save(path)
  return { path, network: made.network, dispose: () => made.dispose() }
}

function write(folder, name, array) {
  const path = join(folder, name)
  writeFileSync(path, array)
  return path
}

function inputs(folder, shape, batch, index) {
  const x = new Float32Array(shape.reduce((a, b) => a * b, batch))
  native.normals(x, batch, index, 11, 3)
  const sigma = Float32Array.from({ length: batch }, (_, b) => 0.01 * 1000 ** ((b + 0.5) / batch))
  return {
    x: write(folder, `${index}-${batch}-x.bin`, x),
    sigma: write(folder, `${index}-${batch}-sigma.bin`, sigma),
    shape: [batch, ...shape],
  }
}

// each job as the plan of memory knows it, and the head that it plans for
const PLANS = {
  denoise: ['denoise', 'denoiser'],
  energyGrad: ['energyGrad', 'dot'],
  dsm: ['train', 'denoiser'],
  distill: ['train', 'dot'],
}

/** The rows of one network, one by one. */
async function* networkRows(folder, unet, index, wanted) {
  const jobs = unet.batches.flatMap((batch) =>
    unet.jobs
      .map((job) => ({ name: `${job}  ${unet.name}, batch ${batch}`, job, batch }))
      .filter(({ name }) => wanted(name)),
  )
  const models = new Map()
  const small = new Map()
  for (const role of new Set(jobs.flatMap(({ job }) => rolesOf(job)))) {
    models.set(role, await model(folder, unet, index, role))
    small.set(role, await model(folder, SMALL, SMALL.index, role))
  }
  const files = (of, job) => {
    const [first, second] = rolesOf(job).map((role) => of.get(role).path)
    return { model: first, teacher: second }
  }
  for (const { name, job, batch } of jobs) {
    yield {
      name,
      unet: true,
      planned: models.get(rolesOf(job)[0]).network.workingBytes(...PLANS[job], batch),
      job: {
        job,
        ...inputs(folder, unet.shape, batch, index),
        ...files(models, job),
        small: { ...inputs(folder, SMALL.shape, 1, SMALL.index), ...files(small, job) },
      },
    }
  }
  for (const { dispose } of [...models.values(), ...small.values()]) dispose()
}

/** Every row whose name has `only` in it, in order; their files are made as they come. */
export async function* rows(folder, { sizes, quick, only = '' }) {
  const wanted = (name) => name.includes(only)
  const unets = sizes ? SIZES : UNETS
  for (const [index, unet] of (quick ? unets.slice(0, 1) : unets).entries())
    yield* networkRows(folder, unet, index, wanted)
  if (sizes) return
  const particles = [
    { name: 'SMC step  N = 4096, d = 3072', job: { job: 'smc', n: 4096, d: 3072, small: { n: 16, d: 4 } } },
    ...COUNTS.slice(0, quick ? 3 : undefined).map((n) => ({
      name: `resampling  N = ${n.toExponential(0)}`,
      job: { job: 'resample', n, small: { n: 16 } },
    })),
  ]
  yield* particles.filter(({ name }) => wanted(name))
}
