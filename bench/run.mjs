// The benchmark: every job on feynkac and on a peer that does the same work, alternating in one run, as ratios. Timings of two runs are not
// to be compared; ratios within a run are.
//
//   node bench/run.mjs [--peer torch|none] [--quick] [--sizes] [--threads N] [--out FILE] [--only NAME]
//
// --sizes: images from 32x32 to 256x256 instead, with the memory that inspect plans for them.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Denoiser, devices, EnergyModel, songUNet } from '../dist/index.js'
import { native } from '../dist/native.js'

const here = dirname(fileURLToPath(import.meta.url))
const { values: options } = parseArgs({
  options: {
    peer: { type: 'string', default: 'torch' },
    quick: { type: 'boolean', default: false },
    sizes: { type: 'boolean', default: false },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    out: { type: 'string' },
    only: { type: 'string' },
    python: { type: 'string' },
  },
})
const threads = Number(options.threads)

const UNETS = [
  {
    name: '16x16x3, 32 ch [1,2]',
    batch: 16,
    shape: [3, 16, 16],
    args: { model_channels: 32, channel_mult: [1, 2], num_blocks: 1, attn_resolutions: [8] },
  },
  {
    name: '28x28x1, 32 ch [1,2,2]',
    batch: 32,
    shape: [1, 28, 28],
    args: { model_channels: 32, channel_mult: [1, 2, 2], num_blocks: 1, attn_resolutions: [14] },
  },
  {
    name: '32x32x3, 64 ch [1,2,2]',
    batch: 16,
    shape: [3, 32, 32],
    args: { model_channels: 64, channel_mult: [1, 2, 2], num_blocks: 2, attn_resolutions: [16] },
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
  batch,
  shape: [3, side, side],
  args: { model_channels: 32, channel_mult, num_blocks: 1, attn_resolutions: [32, 16] },
}))
const COUNTS = options.quick ? [1e3, 1e5] : [1e3, 1e4, 1e5, 1e6, 1e7]

/** Runs one side of a job in its own process. */
function side(command, args, job) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    let out = ''
    child.stdout.on('data', (data) => {
      out += data
    })
    child.on('error', reject)
    child.on('close', (code) =>
      code === 0 ? resolve(JSON.parse(out)) : reject(new Error(`${command} ended with ${code}`)),
    )
    child.stdin.end(JSON.stringify(job))
  })
}

const ours = (job) => side(process.execPath, [join(here, 'worker.mjs')], job)
const peer = (job) => side(found.python, [join(here, 'peers', 'torch_cpu.py')], job)

/** The first Python that has PyTorch, and PyTorch's version. */
function findPeer() {
  if (options.peer === 'none') return null
  for (const python of options.python ? [options.python] : ['python3', '/usr/bin/python3'])
    try {
      const code = 'import torch, numpy; print(torch.__version__)'
      return {
        python,
        version: execFileSync(python, ['-c', code], { stdio: ['ignore', 'pipe', 'ignore'] })
          .toString()
          .trim(),
      }
    } catch {
      // the next one
    }
  console.log('no Python with PyTorch and NumPy: times without a peer (Debian: apt-get install python3-torch)')
  return null
}

/** Weights that leave no layer near zero, as a trained network has them; both sides read them from the files. */
async function models(folder, { shape, args, batch }, index) {
  const network = songUNet(shape, { dropout: 0, ...args })
  const paths = {}
  const planned = {}
  for (const [role, Model, kind] of [
    ['model', Denoiser],
    ['teacher', Denoiser],
    ['energy', EnergyModel, 'dot'],
  ]) {
    const model = await Model.create({ network, kind: kind ?? 'denoiser' })
    const flat = new Float32Array(model.network.parameterCount())
    native.normals(flat, 1, index, 11, role === 'teacher' ? 1 : 2)
    for (const p of model.network.parameters()) {
      const fanIn = p.shape.length > 1 ? p.size / p.shape[0] : 100
      const mean = /norm\d?\.weight$/.test(p.name) ? 1 : 0
      for (let i = p.offset; i < p.offset + p.size; i++) flat[i] = mean + flat[i] / Math.sqrt(fanIn)
    }
    await model.network.write('params', flat).promise
    // activations of one batch, as the memory plan has them
    const bytes = (job) => model.network.workingBytes(job, model.info.kind, batch)
    if (role === 'model') planned.dsm = bytes('train')
    if (role === 'energy') Object.assign(planned, { energyGrad: bytes('energyGrad'), distill: bytes('train') })
    paths[role] = join(folder, `${index}-${role}.safetensors`)
    await model.save(paths[role])
    model.dispose()
  }
  return { paths, planned }
}

function write(folder, name, array) {
  const path = join(folder, name)
  writeFileSync(path, array)
  return path
}

async function rows(folder) {
  const list = []
  const repeat = options.quick ? { warmup: 1, repeats: 2, seconds: 0 } : { warmup: 1, repeats: 5, seconds: 2 }
  for (const [index, unet] of (options.sizes ? SIZES : UNETS).entries()) {
    if (options.quick && index > 0) break
    const { paths, planned } = await models(folder, unet, index)
    const { batch, shape } = unet
    const x = new Float32Array(shape.reduce((a, b) => a * b, batch))
    native.normals(x, batch, index, 11, 3)
    const sigma = Float32Array.from({ length: batch }, (_, b) => 0.01 * 1000 ** ((b + 0.5) / batch))
    const input = {
      x: write(folder, `${index}-x.bin`, x),
      sigma: write(folder, `${index}-sigma.bin`, sigma),
      shape: [batch, ...shape],
    }
    for (const job of ['energyGrad', 'dsm', 'distill'])
      list.push({
        name: `${job}  ${unet.name}, batch ${batch}`,
        unet: true,
        planned: planned[job],
        job: {
          ...input,
          ...repeat,
          threads,
          job,
          model: job === 'energyGrad' ? paths.energy : paths.model,
          teacher: paths.teacher,
        },
      })
  }
  if (options.sizes) return list.filter((row) => !options.only || row.name.includes(options.only))
  const small = { ...repeat, threads, repeats: 5 }
  list.push({ name: 'SMC step  N = 4096, d = 3072', job: { ...small, job: 'smc', n: 4096, d: 3072 } })
  for (const n of COUNTS)
    list.push({ name: `resampling  N = ${n.toExponential(0)}`, job: { ...small, job: 'resample', n } })
  return list.filter((row) => !options.only || row.name.includes(options.only))
}

/** Largest relative difference of what both sides computed from the same weights and inputs. */
function disagreement(a, b) {
  const pairs = ['energy', 'gradNorm', 'loss'].flatMap((key) =>
    a[key] === undefined ? [] : [[a[key], b[key]].map((v) => [v].flat())],
  )
  return Math.max(0, ...pairs.flatMap(([p, q]) => p.map((v, i) => Math.abs(v - q[i]) / Math.max(Math.abs(q[i]), 1e-6))))
}

const found = findPeer()
const folder = mkdtempSync(join(os.tmpdir(), 'feynkac-bench-'))
try {
  const results = []
  console.log(
    `${'job'.padEnd(48)} ${'feynkac'.padStart(11)} ${'peer'.padStart(11)} ${'ratio'.padStart(7)}  memory ours/peer, outputs agree to`,
  )
  for (const { name, job, unet, planned } of await rows(folder)) {
    const mine = await ours(job)
    const result = { name, seconds: mine.seconds, bytes: mine.bytes, plannedBytes: planned }
    let text = `${name.padEnd(48)} ${(mine.seconds * 1e3).toFixed(2).padStart(8)} ms`
    if (found) {
      // the peer in the memory format that is faster for it
      const candidates = await (unet ? [false, true] : [false]).reduce(
        async (before, channels_last) => [
          ...(await before),
          { ...(await peer({ ...job, channels_last })), channels_last },
        ],
        [],
      )
      const best = candidates.reduce((a, b) => (a.seconds < b.seconds ? a : b))
      const leanest = Math.min(...candidates.map((c) => c.bytes))
      Object.assign(result, {
        peer: { ...best, energy: undefined, leanestBytes: leanest },
        ratio: best.seconds / mine.seconds,
      })
      text += ` ${(best.seconds * 1e3).toFixed(2).padStart(8)} ms ${result.ratio.toFixed(2).padStart(7)}`
      if (unet) {
        Object.assign(result, { memoryRatio: mine.bytes / leanest, disagreement: disagreement(mine, best) })
        if (!(result.disagreement < 1e-3)) throw new Error(`${name}: the outputs disagree by ${result.disagreement}`)
        text += `  ${(mine.bytes / 2 ** 20).toFixed(0)}/${(leanest / 2 ** 20).toFixed(0)} MB (${result.memoryRatio.toFixed(2)}), ${result.disagreement.toExponential(0)}`
      }
    }
    console.log(text)
    results.push(result)
  }
  const record = {
    date: new Date().toISOString(),
    command: `node bench/run.mjs ${process.argv.slice(2).join(' ')}`.trim(),
    machine: { cpu: devices()[0].description, cores: os.availableParallelism(), threads, load: os.loadavg()[0] },
    versions: { node: process.version, torch: found?.version ?? null },
    results,
  }
  if (options.out) {
    mkdirSync(dirname(options.out), { recursive: true })
    writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
