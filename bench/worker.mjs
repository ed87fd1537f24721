// One benchmark job on feynkac, in a process of its own: the counterpart of peers/torch_cpu.py. Standard input is JSON by the line: the job,
// answered by { version, outputs }; then any number of { threads, calls }, answered by { seconds } of that many calls; at the end of the input
// { bytes, cpu } follow: peak resident memory above what was resident before the job, and processor time in seconds.
//
// Before the job, a small one of its kind has run: code that is loaded at its first use is not memory of the job.
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Denoiser, EnergyModel, resample, setThreads } from '../dist/index.js'
import { loadModel } from '../dist/models/load.js'
import { native, run } from '../dist/native/addon.js'

const floats = (path) => new Float32Array(new Uint8Array(readFileSync(path)).buffer)
const norm = (values) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0))

async function denoise(job) {
  const model = await Denoiser.load(job.model)
  const x = floats(job.x)
  const sigma = Float64Array.from(floats(job.sigma))
  return { work: () => model.denoise(x, sigma), outputs: { norm: norm(await model.denoise(x, sigma)) } }
}

async function energyGrad(job) {
  const model = await EnergyModel.load(job.model)
  const x = floats(job.x)
  const sigma = Float64Array.from(floats(job.sigma))
  const { energy, grad } = await model.energyGrad(x, sigma)
  return { work: () => model.energyGrad(x, sigma), outputs: { energy: [...energy], norm: norm(grad) } }
}

async function training(job) {
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
        muon: 0,
        losses: new Float64Array(batch),
        sigmas: new Float64Array(batch),
      }),
    )
  return { work, outputs: { loss } }
}

async function smcStep(job) {
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
    await run(() => native.resampleJob({ ancestors, weights, logWeights, scheme: 'systematic', seed: 0, step }))
    await run(() => native.gather({ ancestors, from: [y, grad], to: [kept, keptGrad] }))
  }
  return { work, outputs: {} }
}

async function resampling(job) {
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

const jobs = { denoise, energyGrad, distill: training, dsm: training, smc: smcStep, resample: resampling }

/** Peak resident memory since resetPeak, in bytes; where the system cannot reset it, since the start of the process. */
function peak() {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024
  return Number(readFileSync('/proc/self/status', 'utf8').match(/VmHWM:\s+(\d+)/)[1]) * 1024
}

/** Makes what is resident now the peak. */
function resetPeak() {
  if (process.platform === 'linux') writeFileSync('/proc/self/clear_refs', '5')
}

const answer = (object) => console.log(JSON.stringify(object))
let start, work
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  setThreads(asked.threads)
  if (asked.job) {
    const small = await jobs[asked.job]({ ...asked, ...asked.small })
    await small.work()
    resetPeak()
    start = process.memoryUsage.rss()
    const made = await jobs[asked.job](asked)
    work = made.work
    answer({ version: process.version, outputs: made.outputs })
  } else {
    const begin = performance.now()
    for (let i = 0; i < asked.calls; i++) await work()
    answer({ seconds: (performance.now() - begin) / 1000 })
  }
}
const { user, system } = process.cpuUsage()
answer({ bytes: peak() - start, cpu: (user + system) / 1e6 })
