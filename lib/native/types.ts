import type { Head } from '../networks/energy-heads.js'

/** Work on one of the addon's own threads. The promise rejects with code FEYNKAC_ABORTED after cancel(). */
export interface NativeJob<T> {
  promise: Promise<T>
  cancel(): void
}

/** Work that was so little that it has been done. */
export interface DoneJob<T> {
  value: T
}

/** One tensor of a network, in the order and with the name and shape of the reference's state dict (torch layouts). */
export interface ParameterInfo {
  name: string
  shape: number[]
  /** First element in the flat arrays of `read` and `write`. */
  offset: number
  size: number
  /** Part of the state dict that is not trained. */
  buffer: boolean
}

/** One convolution of a network, kernel x kernel, or a linear layer (kernel 1, one pixel), and how its device does it. */
export interface ConvolutionInfo {
  kernel: number
  /** Channels. */
  in: number
  out: number
  height: number
  width: number
  /** Names of the algorithms of the forward pass, the gradient of the data and that of the weights. */
  forward: string
  dataGrad: string
  weightGrad: string
  /** Memory of its weights as the algorithms want them, for both directions, besides the weights themselves. */
  packedBytes: number
}

/** Types of the numbers in an array of a device. */
export type ElementType = 'float32' | 'float64' | 'int32' | 'uint8'

/** A typed array in the memory of a device; lib/native/space.ts makes them. */
export interface DeviceArray {
  readonly type: ElementType
  readonly length: number
  /** The values first .. last - 1, in the same memory. */
  subarray(first: number, last: number): DeviceArray
  upload(values: Float32Array | Float64Array | Int32Array | Uint8Array): NativeJob<void>
  /** Waits for all work of the array's space. */
  download(out: Float32Array | Float64Array | Int32Array | Uint8Array): NativeJob<void>
  /** Frees the memory once nothing uses it. */
  dispose(): void
}

/** A stream of a device, with memory. */
export interface NativeSpace {
  allocate(type: ElementType, length: number): DeviceArray
  /** Frees it once its last array is disposed of. */
  dispose(): void
}

/** The flat float32 arrays of a network: all of them parameterCount long, in ParameterInfo order. */
export type ParameterSlot = 'params' | 'ema' | 'grad' | 'm' | 'v'

/**
 * What the network's output h(u) is taken for: a denoiser's raw output, or the trunk of an energy head (docs/concepts/energies.md). 'joint': both,
 * of a network with two output layers (docs/joint.md), which can be a 'denoiser' alone besides.
 */
export type NetworkKind = 'denoiser' | Head | 'joint'

/** A batch at the border: x is [batch, ...shape] row-major (channels first), sigma one noise level per sample. */
export interface NativeBatch {
  kind: NetworkKind
  /** `a` of the dot and joint heads; 1 otherwise. */
  headScale: number
  /** In training of a joint network: the weight of the energy's part of the loss; 1 if none is given. */
  energyWeight?: number
  x: Float32Array
  sigma: Float64Array
  labels?: Float32Array
  augment?: Float32Array
}

/**
 * Every output is optional and filled in place; only the passes that the given ones need are run. Where x is an array of a device, so are
 * denoised, energy, grad and scoreGrad, and there is nothing else.
 */
export interface EvaluateRequest extends Omit<NativeBatch, 'x'> {
  x: Floats
  /** Tangent direction for `jvp`, like x. */
  direction?: Float32Array
  /** h(u), raw network output; of a joint network the denoiser's */
  raw?: Float32Array
  /** D(x, sigma) of the denoiser, or of the energy; of a joint network the denoiser's */
  denoised?: Floats
  /** Phi(u) and grad_u Phi; energies only */
  phi?: Float64Array
  phiGrad?: Float32Array
  /** E(x, sigma) and grad_x E; energies only */
  energy?: Doubles
  grad?: Floats
  /** (x - D(x, sigma)) / sigma^2 by a joint network's denoiser: a gradient of E without the adjoint pass */
  scoreGrad?: Floats
  /** d/d eps E(x + eps direction), by the tangent pass; energies only */
  jvp?: Float64Array
}

/**
 * Without dropout: loss of one explicit batch and its parameter gradient (left in slot 'grad'): mean of (G - R)^2, R = (target - c_skip x)/c_out;
 * of a joint network mean of (h_D - R)^2 + energyWeight (grad Phi - h_D)^2, h_D of the second term held fixed.
 */
export interface GradientRequest extends NativeBatch {
  /** Denoised target, like x. */
  target: Float32Array
}

export interface TrainRequest extends Omit<NativeBatch, 'x' | 'sigma'> {
  /** Clean samples [batch, ...shape]; noise and noise levels are drawn from (seed, step, row). */
  x0: Float32Array
  /** The distillation target; without it the step is denoising score matching (target x0). */
  teacher?: NativeNetwork
  microBatch: number
  pMean: number
  pStd: number
  /** Noise levels beyond these become these. */
  sigmaMin: number
  sigmaMax: number
  /** Rate of dropout in the network's blocks; 0: none. */
  dropout: number
  seed: number
  step: number
  lr: number
  beta1: number
  beta2: number
  eps: number
  /** Momentum of Muon; 0: Adam alone. */
  muon: number
  clip: number
  emaDecay: number
  /** For an energy without labels: classified besides. */
  levels?: NativeLevels
  /** With a teacher or targets: where above 0, the row of x0 is no clean sample but a state at this noise. */
  states?: Float64Array
  /** Without a teacher: denoised samples, like x0, in its place. */
  targets?: Float32Array
  /** For an energy with a teacher: the path loss besides. */
  walks?: NativeWalks
  /** Filled: mean over the dimensions of the loss per sample, as in GradientRequest, and the noise levels drawn. */
  losses: Float64Array
  sigmas: Float64Array
  /** The ranks do equal parts of the step, which all of them are given alike; what is filled is whole on each. */
  shared?: boolean
}

/** The cross-entropy over noise levels of a step (docs/levelled.md); arrays [count, samples] but where it says [samples]. */
export interface NativeLevels {
  /** Levels per sample. */
  count: number
  /** Weight of the mean cross-entropy in the loss whose gradient the step follows. */
  weight: number
  /** Sample b, row b of x0, gets noise of sigma[truth[b], b]. */
  sigma: Float64Array
  /** [samples] */
  truth: Int32Array
  /** F in the logits F - E. */
  free: Float64Array
  /** Filled: [samples] cross-entropies, and their derivatives by F. */
  losses: Float64Array
  residual: Float64Array
}

/**
 * The path loss of a step (docs/residual.md): row b of x0 gets noise sigma[0, b] and walks on to sigma[1, b], ...; arrays [steps + 1, samples],
 * [steps, samples, groups] or [samples].
 */
export interface NativeWalks {
  steps: number
  groups: number
  /** Weight of the mean of 32 ln cosh(r / 4) in the loss whose gradient the step follows. */
  weight: number
  sigma: Float64Array
  /** [samples]: c in r = E(x_m) - E(x_0) - A - c, and 1, or 0 for a walk that is not learnt from. */
  constant: Float64Array
  share: Float64Array
  /** Variances of the data at sigma[1 ..], by groups of values in the basis: cosines of each channel, or the values themselves. */
  variances: Float64Array
  /** [values of a sample] */
  group: Int32Array
  cosines: boolean
  /** Filled: [samples] */
  residual: Float64Array
}

export interface NativeNetwork {
  /** 'cpu' or 'cuda:0', ... */
  device(): string
  parameters(): ParameterInfo[]
  parameterCount(): number
  /** Bytes of the device's memory that it holds now: weights, what is packed of them, working memory of its jobs. */
  bytesHeld(): number
  write(slot: ParameterSlot, values: Float32Array): NativeJob<void>
  read(slot: ParameterSlot, out: Float32Array): NativeJob<void>
  /** The network's own initialisation (docs/concepts/networks.md), reproducible from the seed; EMA set equal, optimizer cleared. */
  initialise(seed: number): NativeJob<void>
  /** The convolutions at a batch, in the order of the program. */
  convolutions(batch: number): NativeJob<ConvolutionInfo[]>
  evaluate(request: EvaluateRequest): NativeJob<void>
  gradient(request: GradientRequest): NativeJob<{ loss: number }>
  /** energyLoss: of a joint network, the mean of (grad Phi - h_D)^2. */
  train(request: TrainRequest): NativeJob<{ loss: number; gradNorm: number; energyLoss?: number }>
  /** Bytes of working memory (activations) of a job at a batch size. */
  workingBytes(job: 'denoise' | 'energyGrad' | 'train', kind: NetworkKind, batch: number): number
  /** Frees the memory; later calls throw. Waits for nothing: running jobs keep it until they end. */
  dispose(): void
}

/** What every network has. */
type NativeTrainable = Pick<
  NativeNetwork,
  | 'device'
  | 'parameters'
  | 'parameterCount'
  | 'bytesHeld'
  | 'write'
  | 'read'
  | 'initialise'
  | 'convolutions'
  | 'dispose'
>

/** Training steps of networks that know no noise levels: images [batch, ...shape]. */
export interface ImageTrainRequest
  extends Pick<
    TrainRequest,
    | 'microBatch'
    | 'seed'
    | 'step'
    | 'lr'
    | 'beta1'
    | 'beta2'
    | 'eps'
    | 'muon'
    | 'clip'
    | 'emaDecay'
    | 'losses'
    | 'shared'
  > {
  x: Float32Array
  /** Standard deviation of the noise on an autoencoder's latents; for a classifier the largest one of the noise on the images. */
  noise: number
}

/** Arrays [batch, ...shape] row-major; outputs are filled in place. */
export interface NativeAutoencoder extends NativeTrainable {
  latentShape(): [channels: number, height: number, width: number]
  /** Mean and log variance of the latents as the network gives them, not normalised; the variance in [-30, 20], where there is one. */
  encode(request: { x: Float32Array; mean: Float32Array; logVariance?: Float32Array }): NativeJob<void>
  decode(request: { latents: Float32Array; x: Float32Array }): NativeJob<void>
  /** A step on the mean of (decode(mean + noise n) - x)^2, with n drawn from (seed, step, row). */
  train(request: ImageTrainRequest): NativeJob<{ loss: number; gradNorm: number }>
  workingBytes(job: 'encode' | 'decode' | 'train', batch: number): number
}

/** Arrays [batch, ...shape] row-major; outputs are filled in place. */
export interface NativeClassifier extends NativeTrainable {
  /** Features [batch, channels of the last level] and logits [batch, classes of all attributes]. */
  classify(request: { x: Float32Array; features?: Float32Array; logits?: Float32Array }): NativeJob<void>
  /**
   * A step on the mean cross-entropy of all attributes that have a class. labels: [batch, classes of all attributes], one-hot vectors, zeros
   * for unknown classes. The noise on an image has a standard deviation uniform in (0, noise), drawn from (seed, step, row).
   */
  train(request: ImageTrainRequest & { labels: Float32Array }): NativeJob<{ loss: number; gradNorm: number }>
  workingBytes(job: 'classify' | 'train', batch: number): number
}

/** Arrays of a run: all on the host, or all in one space of a device. */
export type Floats = Float32Array | DeviceArray

/** As Floats, in float64. */
export type Doubles = Float64Array | DeviceArray

/** As Floats, of whole numbers. */
export type Ints = Int32Array | DeviceArray

/** As Floats, of bytes. */
export type Bytes = Uint8Array | DeviceArray

/** As Floats, of any type. */
export type Values = Floats | Doubles | Ints | Bytes

/** What writes and reads the weights of a network of any kind. */
export type NetworkWeights = Pick<NativeNetwork, 'parameters' | 'parameterCount' | 'write' | 'read'>

/** The communicator of this process (native/ranks/communicator.h). Counts are of bytes, one for each rank. */
export interface NativeRanks {
  /** Starts MPI, from the first of the libraries that loads; once. `checks`: the ranks compare their calls. */
  open(libraries: readonly string[], checks: boolean): NativeJob<NativePlace & NativeMpi>
  /** What a library calls itself, and which binary interface it has; MPI is not started. Throws DeviceError. */
  describe(library: string): NativeMpi
  barrier(): NativeJob<void>
  allGather(own: ArrayBufferView, out: ArrayBufferView, counts: readonly number[]): NativeJob<void>
  allToAll(
    values: ArrayBufferView,
    counts: readonly number[],
    out: ArrayBufferView,
    outCounts: readonly number[],
  ): NativeJob<void>
  /** In place; in the order of native/ranks/tree_sum.h. stride: of every stride-th rank (1: of all). */
  sum(values: Float32Array, stride?: number): NativeJob<void>
  /** Waits up to this number of seconds for all ranks to leave. Returns why that cannot be, or ''. */
  leave(patience: number): string
  /** Ends all ranks, and this process at once. */
  abort(code: number): never
  /** How gradients on GPUs travelled: by NCCL of a version, or by way of the host for a reason; undefined before the first. */
  exchange(): { nccl: string } | { reason: string } | undefined
  /** NCCL's version. Throws DeviceError where it does not load. */
  describeNccl(): string
  /** Time that operations took since the start, in which this rank may have worked. */
  secondsWaiting(): number
}

interface NativePlace {
  rank: number
  size: number
  localRank: number
  localSize: number
  library: string
}

interface NativeMpi {
  version: string
  /** 'mpich', 'openmpi' or 'standard' */
  interface: string
}
