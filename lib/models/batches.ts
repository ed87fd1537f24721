import { isProxy } from 'node:util/types'
import { finiteNumber, float32Array, float64Array, knownOptions, unchanged } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { run } from '../native/addon.js'
import { checkSpace, type Space } from '../native/space.js'
import type { DeviceArray, Doubles, EvaluateRequest, Floats, NativeBatch, NativeNetwork } from '../native/types.js'
import { configAugmentDim, configLabelDim } from '../networks/config.js'
import { batchOf, chunkSize, chunksOf } from './chunks.js'
import type { ModelInfo } from './info.js'
import { type Labels, labelSpecOf, type Part, resolveLabels, vectorsOf, withNullClass } from './labels.js'

/** Options of a call of a model. */
export interface CallOptions {
  /** Labels of the samples; none = unconditional (zero labels). */
  labels?: Labels
  /** Augmentation labels, one vector for every sample ([B * augment_dim]) or one for all; none = zeros, no augmentation. */
  augment?: Float32Array
  /** Where x is a part of a batch that labels and augmentation labels are for. */
  part?: Part
  /** Cancels the call within one layer of the network. */
  signal?: AbortSignal
}

type Wanted = Omit<EvaluateRequest, keyof NativeBatch>

/** The chunk of a model's kind: of its most demanding job. */
function chunkOf(network: NativeNetwork, { kind }: ModelInfo): number {
  return chunkSize(network, kind, () => network.workingBytes(kind === 'denoiser' ? 'denoise' : 'energyGrad', kind, 1))
}

/** Checks x and sigma of a call on samples of `size` numbers; returns the batch and one noise level per sample, in an array of its own. */
export function checkBatch(
  x: Float32Array,
  sigma: number | Float64Array,
  size: number,
): { batch: number; sigmas: Float64Array } {
  const batch = batchOf('x', x, size)
  if (typeof sigma !== 'number' && !ArrayBuffer.isView(sigma))
    throw invalid('sigma', `a number or a Float64Array of length ${batch}`, sigma)
  const sigmas =
    typeof sigma === 'number'
      ? new Float64Array(batch).fill(sigma)
      : new Float64Array(float64Array('sigma', sigma, batch))
  for (const s of sigmas) if (!(s > 0) || !Number.isFinite(s)) throw invalid('sigma', 'finite noise levels above 0', s)
  return { batch, sigmas }
}

/** One noise level for all particles of a space. Throws ArgumentError. */
export function sameLevel(sigma: number, x: Floats, { network }: ModelInfo): Float64Array {
  const { length, subarray } = ArrayBuffer.isView(x)
    ? float32Array('x', x)
    : isProxy(x)
      ? ({} as Partial<Floats>)
      : (x ?? {})
  const count = Number(length) / sizeOf(network.shape)
  if (typeof subarray !== 'function' || !Number.isSafeInteger(count) || count < 1)
    throw invalid('x', `particles of [${network.shape}]`, x)
  return new Float64Array(count).fill(finiteNumber('sigma', sigma, { above: 0 }))
}

/** D of particles in a space of the network's device. */
export async function denoiseIn(
  network: NativeNetwork,
  info: ModelInfo,
  space: Space,
  x: Floats,
  sigma: number,
  options?: CallOptions,
): Promise<Floats> {
  const sigmas = sameLevel(sigma, x, info)
  const denoised = checkSpace(space).floats(x.length)
  await evaluateInChunks(network, info, x, sigmas, { denoised }, options)
  return denoised
}

/**
 * Fills the wanted outputs for a whole batch, chunk by chunk; results do not depend on the chunks.
 * Outputs are sized for the whole batch. An x on the host is the caller's, who may do with it what he likes in the meantime: each chunk
 * works on a copy of its own.
 */
export async function evaluateInChunks(
  network: NativeNetwork,
  info: ModelInfo,
  x: Floats,
  sigmas: Float64Array,
  wanted: Wanted,
  options: CallOptions = {},
  chunk = chunkOf(network, info),
): Promise<void> {
  knownOptions('the call', options, ['labels', 'augment', 'part', 'signal'])
  const batch = sigmas.length
  const size = x.length / batch
  const dim = configLabelDim(info.network)
  const given = resolveLabels(options.labels, labelSpecOf(info), dim, batch, options.part)
  const { nullClass } = info
  const labels = nullClass === undefined ? given : withNullClass(given, nullClass, dim, batch)
  const augmentDim = configAugmentDim(info.network)
  if (options.augment !== undefined && augmentDim === 0)
    throw new ArgumentError('augmentation labels were given but this network takes none')
  const augment = options.augment && vectorsOf('augment', options.augment, augmentDim, batch, options.part)
  for (const [first, last] of chunksOf(batch, chunk)) {
    unchanged('x', x, batch * size)
    const views: DeviceArray[] = [] // each keeps the memory of its array, until somebody collects it
    const rows = <T extends Floats | Doubles>(array: T | undefined, width: number): T | undefined => {
      const view = array?.subarray(first * width, last * width)
      if (view !== undefined && !ArrayBuffer.isView(view)) views.push(view)
      return view as T | undefined
    }
    const request: EvaluateRequest = {
      kind: info.kind,
      headScale: info.headScale,
      x: x instanceof Float32Array ? x.slice(first * size, last * size) : rows(x, size)!,
      sigma: rows(sigmas, 1)!,
      labels: rows(labels, dim),
      augment: rows(augment, augmentDim),
      direction: rows(wanted.direction, size),
      raw: rows(wanted.raw, size),
      denoised: rows(wanted.denoised, size),
      phi: rows(wanted.phi, 1),
      phiGrad: rows(wanted.phiGrad, size),
      energy: rows(wanted.energy, 1),
      grad: rows(wanted.grad, size),
      scoreGrad: rows(wanted.scoreGrad, size),
      jvp: rows(wanted.jvp, 1),
    }
    try {
      await run(() => network.evaluate(request), options.signal)
    } finally {
      for (const view of views) view.dispose()
    }
  }
}
