import { FormatError } from '../base/errors.js'
import { evaluateInChunks } from '../models/batches.js'
import type { ModelInfo } from '../models/info.js'
import { createNetwork, flatten } from '../models/model-file.js'
import { run } from '../native/addon.js'
import type { DeviceOptions, Precision } from '../native/devices.js'
import type { NetworkKind } from '../native/types.js'
import { parseNetworkConfig } from '../networks/config.js'
import type { NoiseConditioning } from '../networks/noise-conditioning.js'
import { edmPreconditioning } from '../networks/preconditioning.js'
import { readSafetensors, type Tensor, toFloat32 } from '../weights/safetensors.js'

/** One recomputed tensor: the largest error over the batch, in the measure that suits it, and its bound. */
export interface VerifyRow {
  name: string
  error: number
  bound: number
  ok: boolean
}

/** What `verifyFixture` found. */
export interface VerifyResult {
  file: string
  network: string
  rows: VerifyRow[]
  ok: boolean
}

/** Relative errors allowed to float32 sums of products whose factors are rounded as the precision says; energies and losses are summed in float64. */
const BOUNDS: Record<Precision, { image: number; scalar: number; energy: number; loss: number; gradient: number }> = {
  fp32: { image: 2e-5, scalar: 1e-6, energy: 5e-6, loss: 5e-6, gradient: 1e-4 },
  tf32: { image: 4e-3, scalar: 4e-4, energy: 2e-3, loss: 2e-4, gradient: 2e-2 },
  bf16: { image: 3e-2, scalar: 3e-3, energy: 1e-2, loss: 1e-3, gradient: 0.12 },
}

/** Documented in late.ts. */
export async function verifyFixture(
  path: string,
  options: DeviceOptions & { signal?: AbortSignal } = {},
): Promise<VerifyResult> {
  const { metadata, tensors } = await readSafetensors(path)
  const fail = (what: string): never => {
    throw new FormatError(`${path}: ${what}`, path)
  }
  if (metadata.config === undefined) fail('not a fixture: no config in the metadata')
  const config = parseJson(metadata.config!, fail)
  const networkConfig = parseNetworkConfig(config.network, config.shape, path)
  const given = config.precond?.sigma_data
  const sigmaData =
    typeof given === 'number' && given > 0 ? given : fail('precond.sigma_data is missing from the config')

  const expected = (name: string): Tensor => tensors.get(name) ?? fail(`tensor '${name}' is missing`)
  const floats = (name: string): Float32Array => toFloat32(expected(name))
  const doubles = (name: string): Float64Array => {
    const { data } = expected(name)
    return data instanceof Float64Array ? data : fail(`expected F64 for tensor '${name}'`)
  }
  const x = floats('x')
  const sigma = Float64Array.from(floats('sigma'))
  const batch = sigma.length
  if (batch === 0 || x.length % batch !== 0) fail("'x' and 'sigma' disagree on the batch")
  const preconditioning = edmPreconditioning(sigmaData)
  if (networkConfig.class === 'UNet2DModel') preconditioning.noise = givenTimes(sigma, floats('c_noise'), fail)
  const bounds = BOUNDS[options.precision ?? 'fp32']
  const network = createNetwork({ network: networkConfig, preconditioning }, options)
  try {
    const isModel = (name: string) => name.startsWith('model.')
    const weights = new Map([...tensors].filter(([name]) => isModel(name)))
    const flat = await flatten(network, weights, path, 'model.', (name) => name.endsWith('.resample_filter'))
    await run(() => network.write('params', flat), options.signal)

    const rows: VerifyRow[] = []
    const add = (name: string, error: number, bound: number) => rows.push({ name, error, bound, ok: error <= bound })
    const perSample = (name: string, got: Float32Array) =>
      add(name, worstRelative(got, floats(name), batch), bounds.image)

    const labels = tensors.has('class_labels') ? floats('class_labels') : undefined
    const augment = tensors.has('augment_labels') ? floats('augment_labels') : undefined
    const info = (kind: NetworkKind): ModelInfo => ({
      kind,
      headScale: kind === 'dot' ? 0.5 : 1,
      sigmaData,
      preconditioning,
      sigmaMin: 0.002,
      sigmaMax: 80,
      network: networkConfig,
      labels: null,
    })
    const call = { labels, augment, signal: options.signal }
    const image = () => new Float32Array(x.length)
    const evaluate = async (
      kind: NetworkKind,
      wanted: Parameters<typeof evaluateInChunks>[4],
      given: object = call,
    ) => {
      await evaluateInChunks(network, info(kind), x, sigma, wanted, given)
    }

    const raw = image()
    const denoised = image()
    await evaluate('denoiser', { raw, denoised })
    perSample('F', raw)
    perSample('D', denoised)
    for (const [name, given] of [
      ['F.nolabel', { ...call, labels: undefined }],
      ['F.noaug', { ...call, augment: undefined }],
    ] as const) {
      if (!tensors.has(name)) continue
      const out = image()
      await evaluate('denoiser', { raw: out }, given)
      perSample(name, out)
    }

    for (const head of ['dot', 'l2', 'residual'] as const) {
      if (!tensors.has(`${head}.gradF`)) continue
      const phi = new Float64Array(batch)
      const energy = new Float64Array(batch)
      const phiGrad = image()
      const own = image()
      const grad = image()
      await evaluate(head, { phi, phiGrad, energy, denoised: own, grad })
      perSample(`${head}.gradF`, phiGrad)
      perSample(`${head}.D`, own)
      perSample(`${head}.gradE`, grad)
      const phi64 = doubles(`${head}.F_s.f64`)
      const energy64 = doubles(`${head}.E.f64`)
      const norms = { F: rowNorms(raw, batch), x: rowNorms(x, batch) }
      let phiError = 0
      let energyError = 0
      for (let b = 0; b < batch; b++) {
        const s = sigma[b]
        const variance = s * s + sigmaData ** 2
        const ofX = norms.x[b] ** 2 / (2 * variance)
        // an inner product may be near zero by chance: measure it against the product of the norms
        const scale = {
          dot: (0.5 * norms.x[b] * norms.F[b]) / Math.sqrt(variance),
          l2: Math.abs(phi64[b]),
          residual: (s / sigmaData) * (ofX + energy64[b]),
        }[head]
        phiError = worst(phiError, Math.abs(phi[b] - phi64[b]) / scale)
        // the residual energy is a sum of squares: no difference of terms
        const terms = head === 'residual' ? energy64[b] : ofX + (sigmaData / s) * Math.abs(phi64[b])
        energyError = worst(energyError, Math.abs(energy[b] - energy64[b]) / terms)
      }
      add(`${head}.F_s`, phiError, bounds.scalar)
      add(`${head}.E`, energyError, bounds.energy)
    }

    for (const head of ['dot', 'residual'] as const) {
      if (!tensors.has(`${head}.jvpE.f64`)) continue
      const v = floats('v')
      const jvp = new Float64Array(batch)
      await evaluate(head, { jvp, direction: v })
      const reference = doubles(`${head}.jvpE.f64`)
      const scale = rowNorms(v, batch).map((n, b) => n * rowNorms(floats(`${head}.gradE`), batch)[b])
      add(
        `${head}.jvpE`,
        jvp.reduce((e, value, b) => worst(e, Math.abs(value - reference[b]) / scale[b]), 0),
        bounds.scalar,
      )
    }

    // the loss of the dot energy has no prefix
    for (const [head, prefix] of [
      ['dot', ''],
      ['residual', 'residual.'],
    ] as const) {
      if (!tensors.has(`${prefix}L.f64`)) continue
      const request = { ...info(head), x, sigma, labels, augment, target: floats('T') }
      const { loss } = await run(() => network.gradient(request), options.signal)
      const reference = doubles(`${prefix}L.f64`)[0]
      add(`${prefix}L`, Math.abs(loss - reference) / Math.abs(reference), bounds.loss)
      const gradient = new Float32Array(network.parameterCount())
      // sine and cosine of arguments of several hundred
      const fourier = networkConfig.class === 'SongUNet' && networkConfig.args.embedding_type === 'fourier'
      await run(() => network.read('grad', gradient), options.signal)
      for (const p of network.parameters().filter((parameter) => !parameter.buffer))
        add(
          `${prefix}grad.${p.name}`,
          worstRelative(gradient.subarray(p.offset, p.offset + p.size), floats(`${prefix}grad.${p.name}`), 1),
          bounds.gradient * (fourier ? 2 : 1),
        )
    }
    return { file: path, network: networkConfig.class, rows, ok: rows.every((r) => r.ok) }
  } finally {
    network.dispose()
  }
}

/** diffusers' networks are told the times that the file gives: a table of them at the noise levels. */
function givenTimes(sigma: Float64Array, times: Float32Array, fail: (what: string) => never): NoiseConditioning {
  const levels = new Map<number, number>()
  sigma.forEach((s, b) => {
    if ((levels.get(s) ?? times[b]) !== times[b]) fail(`'c_noise' has two times for sigma = ${s}`)
    levels.set(s, times[b])
  })
  const rows = [...levels].sort(([a], [b]) => a - b)
  return { kind: 'table', sigmas: rows.map(([s]) => s), times: rows.map(([, t]) => t), rounding: 'nearest' }
}

/** The parts of a fixture's config that are read here, unchecked. */
interface FixtureConfig {
  network?: unknown
  shape?: unknown
  precond?: { sigma_data?: unknown }
}

function parseJson(text: string, fail: (what: string) => never): FixtureConfig {
  try {
    const json = JSON.parse(text)
    if (typeof json === 'object' && json !== null) return json as FixtureConfig
  } catch {
    // falls through to the one message
  }
  return fail('the config in the metadata is not a JSON object')
}

/** The larger error, where NaN counts as infinite. */
function worst(a: number, b: number): number {
  return Number.isNaN(b) ? Infinity : Math.max(a, b)
}

function rowNorms(values: Float32Array, rows: number): Float64Array {
  const width = values.length / rows
  return Float64Array.from({ length: rows }, (_, b) => {
    let sum = 0
    for (let i = b * width; i < (b + 1) * width; i++) sum += values[i] * values[i]
    return Math.sqrt(sum)
  })
}

/** Largest over the rows of ||a - b|| / ||b||. */
function worstRelative(a: Float32Array, b: Float32Array, rows: number): number {
  if (a.length !== b.length) return Infinity
  const difference = rowNorms(
    a.map((v, i) => v - b[i]),
    rows,
  )
  const norms = rowNorms(b, rows)
  return difference.reduce((e, d, r) => worst(e, d === 0 ? 0 : d / norms[r]), 0)
}
