import type { Bytes, DoneJob, Doubles, Floats, Ints, NativeJob } from './types.js'

/** Arrays that hold one row per particle; the row's length follows from the array's. */
export type Rows = Floats | Doubles | Ints

/** On a thread, or done at once where few values take part: native/addon/request.h. */
type ParticleJob<T> = NativeJob<T> | DoneJob<T>

/** Standard normals times `std`, a pure function of (seed, purpose, step, particle, index): native/kernels/common/random.h. */
export interface Noise {
  std: number
  seed: number
  /** A value of native/kernels/common/random.h's enum Purpose. */
  purpose: number
  step: number
  /** Number of the particle in the first row (0). */
  first?: number
}

/** What a set of log-weights says: `invalid` is the first particle with NaN or +infinity, -1 if there is none. */
export interface LogWeightStats {
  logSum: number
  ess: number
  invalid: number
  /** Given by reweight alone: logSum if the log-weights had got their increment twice. */
  logSumAgain: number
}

/** The initial particle that every particle descends from, on the host: lib/smc/diagnostics.ts. */
export interface RootArrays {
  /** [N], each in 0 .. N - 1 */
  of: Int32Array
  /** [N] zeros, which they are again afterwards; none where every particle is its own root. */
  families?: Float64Array
}

/** What a generation comes to: how many different roots it has, and the sum of their families' squared shares of the weight. */
export interface Descent {
  distinct: number
  concentration: number
}

/** A Gaussian mixture in the layout of native/kernels/common/gaussian_mixture.h. */
export interface MixtureArrays {
  /** [C] */
  logWeights: Float64Array
  /** [C, d] */
  means: Float64Array
  /** [C], [C, d] or [C, d, d] */
  covariances: Float64Array
  form: 'scalar' | 'diagonal' | 'full'
}

/**
 * The O(N d) work of sampling. N = particles, d = values of one particle; outputs are named first and filled in place. The arrays of a
 * request are all on the host or all in one space of a device, which then does the work; what is declared a typed array is always on the
 * host.
 */
export interface NativeParticles {
  /**
   * out = x - v grad + sqrt(tau) z; logForward = log N(out; x - v grad, tau), logBackward = log N(x; out, v),
   * alignment = <grad, x - out>, gradSquares = |grad|^2. v and tau hold 1 or d values. `out` may be x.
   */
  propose(request: {
    out: Floats
    logForward: Doubles
    logBackward: Doubles
    alignment: Doubles
    gradSquares: Doubles
    x: Floats
    grad: Floats
    v: Float64Array
    tau: Float64Array
    seed: number
    step: number
    first?: number
  }): ParticleJob<void>
  /** out = sum_j coefficients[j] terms[j] + noise; `out` may be one of the terms. */
  combine(request: {
    out: Floats
    terms: readonly Floats[]
    coefficients: Float64Array
    rows: number
    noise?: Noise
  }): ParticleJob<void>
  /**
   * The orthonormal two-dimensional DCT-II of every channel of every row, or its inverse (DCT-III). shape: [channels, height, width] of a
   * row, sides up to 4096. `out` may be x.
   */
  dct(request: { out: Floats; x: Floats; shape: readonly number[]; inverse?: boolean }): ParticleJob<void>
  /**
   * The energy and gradient of a composition of models. linear: U = sum_j c_j E_j; mixture: U = -log sum_j exp(c_j - E_j).
   * squares (optional): sum_j c_j |grad E_j|^2.
   */
  compose(request: {
    energy: Doubles
    grad: Floats
    squares?: Doubles
    form: 'linear' | 'mixture'
    coefficients: Float64Array
    energies: readonly Doubles[]
    grads: readonly Floats[]
  }): ParticleJob<void>
  /** out[r] = |sum_j coefficients[j] terms[j][r]|^2 */
  rowSquares(request: { out: Doubles; terms: readonly Floats[]; coefficients: Float64Array }): ParticleJob<void>
  /** out[r] = <a[r] + v b[r], c[r]>; v holds 1 or d values. */
  rowProducts(request: { out: Doubles; a: Floats; b: Floats; v: Float64Array; c: Floats }): ParticleJob<void>
  /**
   * Weighted means of squares: out [d] per coordinate, or out [1] over all coordinates. weights [N] sum to one. goesOn: on the host, the sums of each
   * coordinate go on from those in `out`.
   */
  meanSquares(request: { out: Float64Array; grad: Floats; weights: Doubles; goesOn?: boolean }): ParticleJob<void>
  /** sum_i weights[i] values[i] over the positive weights, in the order of meanSquares. */
  weightedSum(values: Float64Array, weights: Float64Array): number
  /** to[j][r] = from[j][ancestors[r]] for every pair of arrays. */
  gather(request: { ancestors: Ints; from: readonly Rows[]; to: readonly Rows[] }): ParticleJob<void>
  /** out[r] = constant + sum_j coefficients[j] terms[j][r] */
  sumTerms(request: {
    out: Doubles
    terms: readonly Doubles[]
    coefficients: Float64Array
    constant: number
  }): ParticleJob<void>
  /**
   * logWeights += constant + sum_j coefficients[j] terms[j] where they are above -infinity (a particle without weight stays without),
   * and weights = normalised weights (NaN when all are -infinity). With `roots`: the concentration of the weights (Descent), and their mean of
   * `energy` where there is one; `shares` are the weights on the host then, the same array where that is theirs.
   */
  reweight(request: {
    logWeights: Doubles
    weights: Doubles
    terms: readonly Doubles[]
    coefficients: Float64Array
    constant: number
    roots?: RootArrays
    shares?: Float64Array
    energy?: Doubles
  }): ParticleJob<LogWeightStats & { concentration: number; meanEnergy: number }>
  logWeightStats(logWeights: Float64Array): LogWeightStats
  /**
   * out [count, count] = covariances of `count` columns [N] over the rows that have weight and are finite in all of them. Resolves with their
   * effective number (sum w)^2 / sum w^2, 0 where there is none.
   */
  covariances(request: {
    out: Float64Array
    weights: Float64Array
    columns: readonly Float64Array[]
  }): ParticleJob<number>
  /**
   * A row of `targets` [rows, d] holds the clean sample that its state was made of by noise `inner`, and becomes an estimate of E[x0 | state] at noise
   * sigma, by that sample and the rows of `references` [count, d] whose matches [rows, count] are not 0: native/kernels/cpu/runtime/posterior_means.h.
   */
  posteriorMeans(request: {
    targets: Float32Array
    states: Float32Array
    sigma: Float64Array
    inner: Float64Array
    references: Float32Array
    matches: Uint8Array
  }): ParticleJob<void>
  /** Those that take part in a partial resampling (lib/smc/redraw.ts), ascending, at the start of `chosen` [N]; resolves with how many. */
  extremes(request: { chosen: Int32Array; weights: Float64Array; share: number }): ParticleJob<number>
  /** Ancestors by a resampling scheme; `uniforms` null: drawn from (seed, step). */
  resample(weights: Float64Array, scheme: string, n: number, uniforms: Float64Array | null, seed: number): Int32Array
  /**
   * The same for as many ancestors as weights; resolves with the number of different ones. Where there are `from` and `to`, they are
   * gathered; where there are logWeights, they become 0 then, and the weights 1 / N. With `roots`, `drawn` and `shares` are the ancestors and the
   * weights on the host then (the same arrays where that is theirs), and it descends as `descend`.
   */
  resampleJob(request: {
    ancestors: Ints
    weights: Doubles
    scheme: string
    seed: number
    step: number
    from?: readonly Rows[]
    to?: readonly Rows[]
    logWeights?: Doubles
    roots?: RootArrays & { next: Int32Array }
    drawn?: Int32Array
    shares?: Float64Array
  }): ParticleJob<Descent & { unique: number }>
  /** roots.next = the ancestors' roots, of a generation with these weights. */
  descend(request: {
    ancestors: Int32Array
    weights: Float64Array
    roots: RootArrays & { next: Int32Array }
  }): ParticleJob<Descent>
  /**
   * Metropolis: particle r is accepted where log(uniform of (seed, step, r)) < logRatio[r]; then row r of every from[j] is
   * copied to to[j]. Resolves with the number accepted. NaN is a rejection.
   */
  metropolis(request: {
    accepted: Bytes
    logRatio: Doubles
    from: readonly Rows[]
    to: readonly Rows[]
    seed: number
    step: number
    first?: number
  }): ParticleJob<number>
  /** energy = -log sum_c w_c N(x; mean_c, covariance_c + sigma^2 I), and its gradient. */
  mixtureEnergy(request: {
    energy: Doubles
    grad: Floats
    x: Floats
    sigma: number
    mixture: MixtureArrays
  }): ParticleJob<void>
  /** Independent draws of the mixture, into out [n, d]. */
  mixtureSample(out: Float32Array, mixture: MixtureArrays, seed: number): void
  /** energy = -sum_i log[Phi((upper_i - x_i)/t) - Phi((lower_i - x_i)/t)], and its gradient. */
  softBox(request: {
    energy: Doubles
    grad: Floats
    x: Floats
    lower: Float64Array
    upper: Float64Array
    t: number
  }): ParticleJob<void>
  normals(out: Float32Array, rows: number, seed: number, purpose: number, step: number, first?: number): void
  uniforms(out: Float64Array, rows: number, seed: number, purpose: number, step: number, first?: number): void
}
