import { uniformAt } from '../lib/base/random.js'
import type * as Feynkac from '../lib/index.js'
import { host } from '../lib/native/space.js'

/** Calls of everything that the package exports, with arguments of which some are wrong: what wrong-arguments.test.ts makes. */

type Api = typeof Feynkac
type Call = (args: unknown[]) => unknown

/** A function, and arguments that are right; it is called with those and with others in the place of some. */
export interface Callee {
  name: string
  call: Call
  right: readonly unknown[]
}

const cycle: unknown[] = []
cycle.push(cycle)

/** What callers pass by mistake, or on purpose. Whole numbers that are right but large are left out: they ask for long work. */
export const junk: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => 0,
  () => -1,
  () => 1.5,
  () => Number.NaN,
  () => Number.POSITIVE_INFINITY,
  () => 2 ** 53,
  () => 10n,
  () => '',
  () => 'x',
  () => 'a\0b',
  () => Symbol('s'),
  () => [],
  () => [1],
  () => [undefined],
  () => [10n],
  () => [1, 8, undefined],
  () => new Array(2 ** 32 - 1),
  () => cycle,
  () => ({}),
  () => ({ a: 1 }),
  () => ({ constructor: { name: Symbol('n') } }),
  () => Object.create(null),
  () => ({ length: 2 ** 53 }),
  () => () => {},
  () => () => {
    throw new Error('thrown by a callback')
  },
  () => async () => ({}),
  () => class {},
  () => new Date(0),
  () => new Map([['a', 1]]),
  () => new Float32Array(0),
  () => new Float32Array(3).fill(1),
  () => Float32Array.of(Number.NaN, 1),
  () => new Float64Array(2).fill(1),
  () => new Int32Array(2),
  () => new Uint8Array(4),
  () => new Proxy(new Float32Array(4), {}),
  () => new Proxy(new Float64Array(4), {}),
  () => Object.defineProperty(new Float32Array(4), 'length', { value: 2 ** 31 }),
  () => new ArrayBuffer(8),
  () => new DataView(new ArrayBuffer(8)),
  () => ({ signal: {} }),
  () => ({ shape: [2] }),
  () => ({ shape: new Array(2 ** 32 - 1), energyGrad: () => {}, denoise: () => {} }),
  () => ({ shape: [2], energyGrad: () => ({}), denoise: () => [] }),
]

/** A value in which one part has become junk: the whole, or a part of an array or object in it. */
export function spoilt(value: unknown, below: (limit: number) => number, depth = 0): unknown {
  const isRecord = typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
  const inside = depth < 3 && (isRecord || (Array.isArray(value) && value.length > 0))
  if (!inside || below(4) === 0) return junk[below(junk.length)]()
  if (Array.isArray(value)) {
    const copy = [...value]
    const at = below(copy.length)
    copy[at] = spoilt(copy[at], below, depth + 1)
    return copy
  }
  const copy: Record<string, unknown> = { ...(value as object) }
  const keys = Object.keys(copy)
  if (keys.length === 0 || below(12) === 0) copy.unheardOf = junk[below(junk.length)]()
  else {
    const key = keys[below(keys.length)]
    copy[key] = spoilt(copy[key], below, depth + 1)
  }
  return copy
}

/** Seeded choices. */
export function chooser(seed: number): (limit: number) => number {
  let at = 0
  return (limit) => Math.floor(uniformAt(seed, 12, 0, Math.floor(at / 2 ** 20), at++ % 2 ** 20) * limit)
}

/** Arguments of a call: right ones of which one is spoilt, or nothing but junk. */
export function argumentsFor({ right }: Callee, below: (limit: number) => number): unknown[] {
  if (right.length === 0 || below(6) === 0) return Array.from({ length: below(4) }, () => junk[below(junk.length)]())
  const args = [...right]
  const at = below(args.length)
  args[at] = spoilt(args[at], below)
  return args
}

/** Everything there is to call; `file` is the name of a model file to load, `folder` of one to write to. */
export async function callees(api: Api, file: string, folder: string): Promise<Callee[]> {
  const mixture = api.gaussianMixture({ weights: [1, 2], means: [[0, 0], [1, 1]], covariances: [1, [1, 2]] }) // biome-ignore format: one line
  const product = api.product([mixture, mixture])
  const x = new Float32Array(8).fill(0.5)
  const space: object = Object.create(host) // whole, or something else: no part of it is spoilt
  const images = new Float32Array(64).fill(0.5)
  const mlp = api.residualMLP(2, { hidden: 8, layers: 1, label_dim: 2 })
  const denoiser = await api.Denoiser.create({ network: mlp })
  const unconditional = await api.Denoiser.create({ network: api.residualMLP(2, { hidden: 8, layers: 1 }) })
  const energy = await api.EnergyModel.create({ network: mlp, kind: 'dot' })
  await energy.save(file)
  const small = { block_out_channels: [4], norm_num_groups: 1, latent_channels: 1 }
  const autoencoder = await api.Autoencoder.create({ network: api.autoencoderKL([1, 8, 8], small) })
  const convolutions = {
    class: 'ConvClassifier' as const,
    shape: [1, 8, 8] as [number, number, number],
    args: { in_channels: 1, block_out_channels: [4], layers_per_block: 1, norm_num_groups: 1, classes: [2] },
  }
  const labels = { attributes: [{ name: 'class', size: 2, values: ['a', 'b'] }] }
  const classifier = await api.Classifier.create({ network: convolutions, labels })
  const data = await api.loadDataset('synthetic:ring:count=16')
  const shapes = await api.loadDataset('synthetic:shapes:count=16,size=8')
  const moments = await api.FeatureMoments.of(x, 2)
  const calibration = await api.calibrate(mixture, { data, count: 4, sigmas: [2, 1] })
  const guided = api.guidedDenoiser(denoiser, { labels: [1], scale: 2 })
  const features = api.pixelFeatures([2])
  const sigmas = [2, 1, 0.5]
  const ranks = await api.communicator()
  const training = {
    data: 'synthetic:ring:count=16',
    images: 8,
    batchSize: 8,
    network: { width: 8, blocks: 1 },
    seed: 0,
    previewEvery: 0,
    ranks,
  }
  const pictures = { data: 'synthetic:shapes:count=16,size=8', images: 8, batchSize: 8, seed: 0 }
  const preconditioning = { form: 'edm', sigmaData: 0.5, noise: { kind: 'log', scale: 0.25, offset: 0 } }
  const model = { shape: [2], levels: 2, initial: (n: number) => new Float32Array(2 * n), propagate: (_: number, y: Float32Array) => y, logPotential: (_: number, __: unknown, y: Float32Array) => new Float64Array(y.length / 2) } // biome-ignore format: one line
  const call = { signal: undefined }
  const drawn = await api.sample(mixture, { particles: 4, sigmas: [1, 0] })
  const engine = await api.createEngine({ models: { energy }, maxParticles: 8, maxSteps: 8 })
  const run = { particles: 8, sigmas, seed: 1, device: 'cpu', batchSize: 4, ranks, gather: 'all' }

  /** Right arguments of the exports; a function without any is called with junk alone. */
  const right: Partial<Record<keyof Api, unknown[]>> = {
    adaptSigmas: [mixture, { steps: 2, particles: 8, min: 0.5, max: 2, seed: 0 }],
    autoencoderKL: [[1, 8, 8], { block_out_channels: [4] }],
    bounded: [mixture, { lower: [0, 0], upper: 1, softness: 0.1 }],
    calibrate: [mixture, { data, sigmas: [2, 1], count: 4, pool: [0, 0], seed: 0, ranks }],
    checkEnergy: [mixture, { data: mixture.sample(32), sigmas: [1], tolerance: 0.1, seed: 0 }],
    conservativity: [guided, { x, sigma: 1, probes: 1, seed: 0 }],
    densityCoverage: [new Float32Array(16), new Float32Array(16), { dim: 2, k: 2 }],
    dhariwalUNet: [[3, 8, 8], { model_channels: 8 }],
    createEngine: [
      {
        models: { energy },
        maxConcurrent: 1,
        maxQueued: 1,
        memoryLimit: 1e9,
        maxParticles: 8,
        maxSteps: 8,
        batchRows: 8,
      },
    ],
    distill: [{ ...training, teacher: unconditional, calibrate: 4, head: 'l2', init: 'random', pathWeight: 0.5, pathBatch: 2, pathSteps: 2, pathStep: 0.1, selfPlay: 2 }], // biome-ignore format: one line
    effectiveSampleSize: [Float64Array.of(0, 1)],
    encodeLabel: [labels, [1], new Float32Array(2), 0],
    evaluate: [{ samples: data, data, training: data, metrics: ['mmd', 'frechet'], limit: 8, pairs: 8, batchSize: 4, seed: 0, weights: new Float64Array(16).fill(1) }], // biome-ignore format: one line
    fit: [{ data, minutes: 1, output: `${folder}/fit`, overwrite: false, seed: 0, tensorboard: false, device: 'cpu' }], // of vectors, which it does not take
    frechetDistance: [x, moments, { dim: 2 }],
    gaussianMixture: [{ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, [1, 2]] }], // biome-ignore format: one line
    gridPng: [images, [1, 8, 8], { columns: 2, size: 64 }],
    guided: [mixture, mixture, { scale: 2, lambda: 1 }],
    guidedDenoiser: [denoiser, { labels: [1], negative: [0], scale: 2, interval: [0.1, 2] }],
    kernelDistance: [x, x, { dim: 2, subsetSize: 2, subsets: 2, seed: 0 }],
    labelDim: [labels],
    latentDataset: [shapes, autoencoder, {}],
    loadResult: [folder],
    loadDataset: [
      'synthetic:shapes:count=8,size=8',
      { resize: [4, 4], channels: 3, limit: 4, icc: false, background: 'white' },
    ],
    logMeanExp: [Float64Array.of(0, 1)],
    lowTemperature: [mixture, { gamma: 2, lambda: 1 }],
    mcmc: [product, { chains: 8, sigmas: [1], kernel: 'hmc', steps: 1, stepSize: 0.1, leapfrog: 1, tune: true, seed: 0, initial: new Float32Array(16) }], // biome-ignore format: one line
    mixture: [[mixture, product], { weights: [1, 2], logZ: [0, 1], lambda: 1 }],
    mmd: [x, x, { dim: 2, bandwidths: [1, 2], weightsA: new Float64Array(4).fill(1), seed: 0 }],
    negation: [mixture, mixture, { strength: 0.5, floor: 0.1 }],
    npyBytes: [x, [2, 2]],
    onnxFeatures: ['none.onnx', { shape: [1, 8, 8], size: 8, range: [0, 1], mean: [0], std: [1] }],
    openFeatures: ['pixels', [2], {}, { device: 'cpu' }],
    pixelFeatures: [[2]],
    precisionRecall: [x, x, { dim: 2, k: 1 }],
    preconditioningAt: [preconditioning, 1],
    product: [[mixture, mixture], { weights: [1, -0.5], lambda: 1 }],
    resample: [Float64Array.of(1, 2), { scheme: 'ssp', n: 3, seed: 0 }],
    residualMLP: [2, { hidden: 8 }],
    readNpy: [file],
    resultFromJSON: [drawn.toJSON({ arrays: 'plain' })],
    rewardTilt: [mixture, (_: unknown, count: number) => new Float64Array(count), { strength: 1, sigmaData: 0.5 }],
    sample: [guided, { particles: 4, sigmas: [2, 1, 0], method: 'stochastic-heun', churn: { churn: 1 }, initial: x, seed: 0, ranks, gather: 'all' }], // biome-ignore format: one line
    scoreShapes: [images, [1, 8, 8]],
    scatterPng: [x, { dim: 2, axes: [0, 1], weights: new Float64Array(2).fill(1), most: 2, size: 100, seed: 0 }],
    serve: [
      engine,
      { port: 70000, host: '127.0.0.1', apiKey: 'a', maxSeconds: 1, maxBody: 100, watch: [], version: '1' },
    ], // no such port
    setThreads: [2],
    share: [ranks, [1, 2], (value: number) => 2 * value],
    sigmaGrid: [{ steps: 4, min: 0.1, max: 2, rho: 7 }],
    slicedWasserstein: [x, x, { dim: 2, projections: 4, weightsA: new Float64Array(4).fill(1), seed: 0 }],
    smc: [product, { ...run, weighAbove: 0.5, moves: { kernel: 'mala', steps: 1 }, meanPrecisions: [Float64Array.of(1), Float64Array.of(1)], proposal: 'analytic', resampling: 'ssp', essThreshold: 0.5 }], // biome-ignore format: one line
    songUNet: [[1, 8, 8], { model_channels: 8 }],
    trainAutoencoder: [{ ...pictures, previewEvery: 0, network: { width: 8, channelMult: [1], latentChannels: 1 }, output: `${folder}/autoencoder` }], // biome-ignore format: one line
    trainClassifier: [{ ...pictures, network: { width: 8, channelMult: [1] }, holdOut: 0.5, noise: 0.1 }],
    trainDenoiser: [{ ...training, lr: 1e-3, warmUp: 0, clip: 1, beta1: 0.9, pMean: -1, labelDropout: 0, flips: false, logEvery: 8, device: 'cpu' }], // biome-ignore format: one line
    trainEnergy: [{ ...training, head: 'dot', headScale: 0.5, levelWeight: 0.5, levels: 2, levelBatch: 2 }],
    unet2d: [[1, 8, 8], { block_out_channels: [8] }],
    verifyFixture: [file, { device: 'cpu' }],
    writeNpy: [`${folder}/array.npy`, x, [2, 2]],
  }
  const list: Callee[] = []
  const own = (name: string, object: object, methods: Record<string, unknown[]>) => {
    for (const [method, args] of Object.entries(methods))
      list.push({ name: `${name}.${method}`, call: (given) => (object as Record<string, Call & ((...a: unknown[]) => unknown)>)[method](...given), right: args }) // biome-ignore format: one line
  }
  for (const [name, value] of Object.entries(api)) {
    if (typeof value !== 'function' || value.prototype instanceof Error || value === api.FeynkacError) continue
    const isClass = /^class\b/.test(Function.prototype.toString.call(value))
    if (!isClass)
      list.push({ name, call: (args) => (value as (...a: unknown[]) => unknown)(...args), right: right[name as keyof Api] ?? [] }) // biome-ignore format: one line
  }
  list.push({ name: 'smc of a model', call: (args) => (api.smc as (...a: unknown[]) => unknown)(...args), right: [model, { particles: 8, seed: 0, essAfter: 1 }] }) // biome-ignore format: one line
  list.push({ name: 'smc.stream', call: (args) => (api.smc.stream as (...a: unknown[]) => { result: unknown })(...args).result, right: [product, { ...run, checkpoint: `${folder}/state`, checkpointEvery: 0 }] }) // biome-ignore format: one line
  list.push({ name: 'mcmc.stream', call: (args) => (api.mcmc.stream as (...a: unknown[]) => { result: unknown })(...args).result, right: [product, { chains: 8, sigmas: [2, 1], seed: 0 }] }) // biome-ignore format: one line
  list.push({ name: 'trainDenoiser.stream', call: (args) => (api.trainDenoiser.stream as (...a: unknown[]) => { result: unknown })(...args).result, right: [training] }) // biome-ignore format: one line
  own('engine', engine, { sample: [{ model: 'energy', particles: 2, steps: 2, gamma: 2, with: [{ attributes: { class: 1 } }], not: [{}], strength: 0.4, box: [-1, 1], seed: 0 }, { client: 'a', deadline: 5000 }], energy: ['energy', [1]], run: [{ memory: 1 }, async () => 1] }) // biome-ignore format: one line
  own('result', drawn, { resampled: [2, { scheme: 'ssp', seed: 0 }], save: [`${folder}/drawn`, { overwrite: true }], toJSON: [{ arrays: 'plain' }] }) // biome-ignore format: one line
  list.push({ name: 'new FeatureMoments', call: ([dim]) => new api.FeatureMoments(dim as number), right: [2] })
  own('Denoiser', api.Denoiser, { load: [file, { device: 'cpu' }], create: [{ network: mlp, sigmaMin: 0.1 }, { seed: 1 }] }) // biome-ignore format: one line
  own('EnergyModel', api.EnergyModel, { load: [file, { device: 'cpu' }], create: [{ network: mlp, kind: 'dot', headScale: 1 }, { seed: 1 }] }) // biome-ignore format: one line
  own('Autoencoder', api.Autoencoder, { load: [file, {}], from: [{ path: file, format: 'feynkac', metadata: {}, tensors: new Map(), extra: {} }, {}], create: [{ network: api.autoencoderKL([1, 8, 8], small) }, { seed: 1 }] }) // biome-ignore format: one line
  own('Classifier', api.Classifier, { load: [file, {}], from: [{ path: file, metadata: {}, tensors: new Map() }, {}], create: [{ network: convolutions, labels }, { seed: 1 }] }) // biome-ignore format: one line
  own('FeatureMoments', api.FeatureMoments, { of: [x, 2, {}] })
  own('denoiser', denoiser, {
    denoise: [x, 1, { labels: [1] }],
    denoiseIn: [space, x, 1, {}],
    conditioned: [[1]],
    save: [file],
  })
  own('energy', energy, { denoiseIn: [space, x, 1, {}], energyGradIn: [space, x, 1, {}], denoise: [x, 1, { labels: { class: 1 } }], energy: [x, Float64Array.of(1, 1, 1, 1), call], energyGrad: [x, 1, { labels: new Float32Array(2) }], withGradient: ['energy'], conditioned: [[1]], logNormaliser: [1], calibrate: [{ data: shapes, levels: 2, count: 4 }], save: [file] }) // biome-ignore format: one line
  own('autoencoder', autoencoder, { encode: [images, {}], decode: [new Float32Array(autoencoder.latentShape.reduce((a, b) => a * b, 1)), {}], moments: [images, {}], calibrate: [images, {}], save: [file] }) // biome-ignore format: one line
  own('classifier', classifier, { features: [images, {}], classify: [images, {}], save: [file] })
  list.push({ name: 'classifier.accuracy', call: ([accuracy]) => (classifier.accuracy = accuracy as never), right: [[0.5]] }) // biome-ignore format: one line
  own('ranks', ranks, { barrier: [], allGather: [x, [8]], allToAll: [x, [8], [8]], any: [true], end: [] })
  own('moments', moments, { add: [x, {}], covariance: [] })
  own('data', data, { read: [1, new Float32Array(2), 0], label: [1] })
  own('mixture', mixture, { energyGrad: [x, 1, {}], sample: [2, { seed: 1 }] })
  own('target', product, { energyGrad: [x, 1, {}] })
  own('conditioned', energy.conditioned([1]), { energyGrad: [x, 1, {}] })
  own('conditioned denoiser', denoiser.conditioned([1]), { denoise: [x, 1, {}] })
  own('guided', guided, { denoise: [x, 1, {}] })
  own('calibration', calibration, { precisionAt: [1, 1] })
  own('features', features, { features: [x, {}] })
  list.push({ name: 'smc by likelihoods', call: (args) => (api.smc as (...a: unknown[]) => unknown)(...args), right: [product, { ...run, weights: 'likelihood', weighAbove: 0.5, draws: 4 }] }) // biome-ignore format: one line
  return list
}
