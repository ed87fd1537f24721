// One benchmark job on feynkac, in a process of its own: the counterpart of peers/torch_cpu.py. Reads the job as JSON from standard input and
// prints one JSON line.
import { readFileSync } from 'node:fs'
import { EnergyModel, resample, setThreads } from '../dist/index.js'
import { loadModel } from '../dist/models/load.js'
import { native, run } from '../dist/native.js'

const job = JSON.parse(readFileSync(0, 'utf8'))
setThreads(job.threads)
const floats = (path) => new Float32Array(new Uint8Array(readFileSync(path)).buffer)
const maxRss = () => process.resourceUsage().maxRSS * 1024

async function energyGrad() {
  const model = await EnergyModel.load(job.model)
  const x = floats(job.x)
  const sigma = Float64Array.from(floats(job.sigma))
  const { energy, grad } = await model.energyGrad(x, sigma)
  const gradNorm = Math.sqrt(grad.reduce((sum, g) => sum + g * g, 0))
  return { work: () => model.energyGrad(x, sigma), outputs: { energy: [...energy], gradNorm } }
}

async function training() {
  const { network } = await loadModel(job.model, { device: 'cpu' })
  const distil = job.job === 'distill'
  const teacher = distil ? (await loadModel(job.teacher, { device: 'cpu' })).network : undefined
  const x = floats(job.x)
  const x0 = x.map((v) => 0.3 * v)
  const sigma = Float64Array.from(floats(job.sigma))
  const head = { kind: distil ? 'dot' : 'denoiser', headScale: distil ? 0.5 : 1 }
  let target = x0
  if (teacher) {
    target = new Float32Array(x.length)
    await run(() => teacher.evaluate({ ...head, kind: 'denoiser', x, sigma, denoised: target }))
  }
  const { loss } = await run(() => network.gradient({ ...head, x, sigma, target }))
  const batch = sigma.length
  let step = 0
  const work = () =>
    run(() =>
      network.train({
        ...head,
        teacher,
        x0,
        microBatch: batch,
        pMean: -1.2,
        pStd: 1.2,
        sigmaMin: Number.MIN_VALUE,
        sigmaMax: Number.MAX_VALUE,
        dropout: 0,
        seed: 0,
        step: ++step,
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        clip: 1,
        emaDecay: 0.999,
        losses: new Float64Array(batch),
        sigmas: new Float64Array(batch),
      }),
    )
  return { work, outputs: { loss } }
}

async function smcStep() {
  const { n, d } = job
  const [x, grad, y, kept, keptGrad] = Array.from({ length: 5 }, () => new Float32Array(n * d))
  for (const array of [x, grad]) native.normals(array, n, 0, 11, array === x ? 0 : 1)
  const [logForward, logBackward, alignment, gradSquares, before, after, weights] = Array.from(
    { length: 7 },
    () => new Float64Array(n),
  )
  for (const array of [before, after]) native.uniforms(array, n, 0, 11, array === before ? 2 : 3)
  let step = 0
  const work = async () => {
    const scalars = { v: Float64Array.of(0.04), tau: Float64Array.of(0.03), seed: 0, step: ++step }
    await run(() => native.propose({ out: y, logForward, logBackward, alignment, gradSquares, x, grad, ...scalars }))
    const terms = [before, after, logBackward, logForward]
    const logWeights = new Float64Array(n)
    const coefficients = Float64Array.of(1, -1, 1e-3, -1e-3)
    await run(() => native.reweight({ logWeights, weights, terms, coefficients, constant: 0 }))
    const ancestors = new Int32Array(n)
    await run(() => native.resampleJob({ ancestors, weights, scheme: 'systematic', seed: 0, step }))
    await run(() => native.gather({ ancestors, from: [y, grad], to: [kept, keptGrad] }))
  }
  return { work, outputs: {} }
}

async function resampling() {
  const weights = new Float64Array(job.n)
  native.uniforms(weights, job.n, 0, 11, 0)
  const sum = weights.reduce((a, b) => a + b, 0)
  for (let i = 0; i < job.n; i++) weights[i] /= sum
  let step = 0
  return {
    work: () => resample(weights, { scheme: 'systematic', seed: ++step }),
    outputs: {},
  }
}

const jobs = { energyGrad, distill: training, dsm: training, smc: smcStep, resample: resampling }
// what is held now: the peak so far is that of starting up
const start = process.memoryUsage.rss()
const { work, outputs } = await jobs[job.job]()
for (let i = 0; i < job.warmup; i++) await work()
const times = []
while (times.length < job.repeats || times.reduce((a, b) => a + b, 0) < job.seconds) {
  const begin = performance.now()
  await work()
  times.push((performance.now() - begin) / 1000)
}
times.sort((a, b) => a - b)
const seconds = times[Math.floor(times.length / 2)]
console.log(JSON.stringify({ seconds, bytes: maxRss() - start, ...outputs }))
