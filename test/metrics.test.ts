import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ArgumentError, NumericsError } from '../lib/base/errors.js'
import { permutation } from '../lib/base/order.js'
import { uniformAt } from '../lib/base/random.js'
import { frechetDistance } from '../lib/metrics/frechet.js'
import { kernelDistance } from '../lib/metrics/kernel.js'
import { quantiles, transport } from '../lib/metrics/line.js'
import { densityCoverage, membership, precisionRecall } from '../lib/metrics/manifolds.js'
import { mmd } from '../lib/metrics/mmd.js'
import { FeatureMoments } from '../lib/metrics/moments.js'
import { slicedWasserstein } from '../lib/metrics/sliced-wasserstein.js'
import { choleskyFactor, symmetricEigenvalues } from '../lib/metrics/symmetric.js'

/** By NumPy: test/vectors/make_metrics.py. */
const vectors = JSON.parse(readFileSync(new URL('vectors/metrics.json', import.meta.url), 'utf8'))
const { inputs } = vectors
const [a, b, flat, wide, directions] = [inputs.a, inputs.b, inputs.flat, inputs.wide, inputs.directions].map(
  (values: number[]) => Float32Array.from(values),
)
const { dim } = inputs
const [weightsA, weightsB] = [Float64Array.from(inputs.countsA), Float64Array.from(inputs.countsB)]

/** Independent standard normals. */
function normals(n: number, seed: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => {
    const [u, v] = [uniformAt(seed, 0, 0, i, 0), uniformAt(seed, 0, 0, i, 1)]
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v)
  })
}

function expectAllClose(found: object, expected: Record<string, number>, digits = 12) {
  for (const [name, value] of Object.entries(expected))
    expect((found as typeof expected)[name], name).toBeCloseTo(value, digits)
}

describe('against NumPy in float64', () => {
  it('Fréchet distance, also of singular covariances', async () => {
    expect(await frechetDistance(a, b, { dim })).toBeCloseTo(vectors.frechet.ab, 9)
    expect(await frechetDistance(b, a, { dim })).toBeCloseTo(vectors.frechet.ab, 9)
    expect(await frechetDistance(flat, wide, { dim: 16 })).toBeCloseTo(vectors.frechet.flatWide, 6)
    expect(await frechetDistance(wide, flat, { dim: 16 })).toBeCloseTo(vectors.frechet.flatWide, 6)
    const [x, y] = [a, b].map((z) => z.filter((_, i) => i % dim === 0))
    expect(await frechetDistance(x, y, { dim: 1 })).toBeCloseTo(vectors.frechet.one, 10)
  })

  /** Rows at the places that their turns come from. */
  function placed(z: Float32Array, width: number, seed: number, side: number): Float32Array {
    const order = permutation(seed, side, z.length / width)
    const out = new Float32Array(z.length)
    for (let i = 0; i < z.length / width; i++) out.set(z.subarray(i * width, (i + 1) * width), order(i) * width)
    return out
  }

  it('features too large for the kernel distance', async () => {
    const huge = normals(80, 1).map((v) => 1e38 * v)
    await expect(
      kernelDistance(
        huge,
        huge.map((v) => -v),
        { dim: 4 },
      ),
    ).rejects.toThrow(NumericsError)
  })

  it('kernel distance', async () => {
    const [x, y] = [a, b].map((z, side) => placed(z, dim, 5, side))
    const found = await kernelDistance(x, y, { dim, subsetSize: 14, seed: 5 })
    expectAllClose(found, vectors.kernel, 10)
    expect(found.subsetSize).toBe(14)
  })

  it('precision, recall, density and coverage', async () => {
    for (const k of [1, 3]) expectAllClose(await precisionRecall(a, b, { dim, k }), vectors.precisionRecall[k])
    for (const k of [1, 5]) expectAllClose(await densityCoverage(a, b, { dim, k }), vectors.densityCoverage[k])
    expectAllClose(await precisionRecall(a, b, { dim }), vectors.precisionRecall[3])
    expectAllClose(await densityCoverage(a, b, { dim }), vectors.densityCoverage[5])
  })

  it('membership of each sample, whose share is the precision', async () => {
    for (const k of [1, 3]) {
      const inside = await (await membership(b, { dim, k }))(a)
      expect(inside.filter(Boolean).length / inside.length).toBeCloseTo(vectors.precisionRecall[k].precision, 12)
    }
    const line = await membership(Float32Array.of(0, 1, 10, 12), { dim: 1, k: 1 })
    expect(await line(Float32Array.of(-1, 1.9, 2.1, 7, 8, 14))).toEqual([true, true, false, false, true, true])
    await expect(membership(Float32Array.of(0, 1, 2), { dim: 1 })).rejects.toThrow(ArgumentError)
  })

  it('quantiles of numbers of any sign and size, as a sort has them, with the weights beside their points', async () => {
    const turn = async () => {}
    const values = Float64Array.from([3, -0, 1e-310, -1e300, 0, -2.5, 3, -1e-310, 1e300, -2.5, ...normals(5000, 3)])
    const weights = Float64Array.from(values, (_, i) => (i + 1) / ((values.length * (values.length + 1)) / 2))
    const plain = await quantiles(values, undefined, turn)
    expect(plain.points).toEqual(values.slice().sort())
    const { points, mass } = await quantiles(values, weights, turn)
    expect(points).toEqual(plain.points)
    const of = new Map<number, number>() // equal numbers: the sum of their weights
    for (const [i, value] of values.entries()) of.set(value, (of.get(value) ?? 0) + weights[i]!)
    for (const value of [-2.5, 3, -1e300, values[400]!]) {
      const [first, last] = [points.indexOf(value), points.lastIndexOf(value)]
      expect(mass[last]! - (mass[first - 1] ?? 0)).toBeCloseTo(of.get(value)!, 14)
    }
    expect(await transport(plain, plain, turn)).toBe(0)
  })

  it('sliced Wasserstein distance, of unequal numbers, with weights and without', async () => {
    const { plain, weighted } = vectors.slicedWasserstein
    expect(await slicedWasserstein(a, b, { dim, directions })).toBeCloseTo(plain, 12)
    expect(await slicedWasserstein(a, b, { dim, directions, weightsA, weightsB })).toBeCloseTo(weighted, 12)
  })

  it('MMD, with weights and without, and the median distance', async () => {
    const { bandwidths } = inputs
    expect((await mmd(a, b, { dim, bandwidths })).squared).toBeCloseTo(vectors.mmd.plain, 13)
    expect((await mmd(a, b, { dim, bandwidths, weightsA, weightsB })).squared).toBeCloseTo(vectors.mmd.weighted, 13)
    expect((await mmd(a, b, { dim })).bandwidths[0]).toBeCloseTo(vectors.mmd.median, 12)
  })

  it('all that goes by blocks, of several blocks', async () => {
    const [many, more] = [inputs.many, inputs.more].map((values: number[]) => Float32Array.from(values))
    const { blocks } = vectors
    expectAllClose(await precisionRecall(many, more, { dim: 2 }), blocks.precisionRecall)
    expectAllClose(await densityCoverage(many, more, { dim: 2 }), blocks.densityCoverage)
    expect((await mmd(many, more, { dim: 2, bandwidths: inputs.bandwidths })).squared).toBeCloseTo(blocks.mmd, 13)
    const twice = Float32Array.from([...more, ...more.map((v) => v + 1 / 64)])
    const [x, y] = [many, twice].map((z, side) => placed(z, 2, 0, side))
    expectAllClose(await kernelDistance(x, y, { dim: 2, subsetSize: 150 }), blocks.kernel, 10)
  })
})

describe('closed forms', () => {
  const n = 300

  it('is 0 between a set and itself, and 1 where all of it is reached', async () => {
    const x = normals(n * 5, 1)
    expect(await frechetDistance(x, x, { dim: 5 })).toBeLessThan(1e-12)
    expect(await slicedWasserstein(x, x, { dim: 5 })).toBe(0)
    expect(await precisionRecall(x, x, { dim: 5 })).toEqual({ precision: 1, recall: 1 })
    expect((await densityCoverage(x, x, { dim: 5 })).coverage).toBe(1)
  })

  it('sees a shift, and a scale, of a Gaussian', async () => {
    const x = normals(n * 3, 2)
    const shifted = x.map((v, i) => v + [3, 4, 0][i % 3])
    expect(await frechetDistance(x, shifted, { dim: 3 })).toBeCloseTo(25, 4)
    // every direction moves by its product with the shift
    const axes = Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1)
    expect(await slicedWasserstein(x, shifted, { dim: 3, directions: axes })).toBeCloseTo(Math.sqrt(25 / 3), 5)
    expect(await slicedWasserstein(x, shifted, { dim: 3, projections: 4000 })).toBeCloseTo(Math.sqrt(25 / 3), 1)
    for (const [d, rank] of [
      [3, 300],
      [150, 400],
      [260, 140],
    ]) {
      const y = normals(rank * d, 12)
      const moments = await FeatureMoments.of(y, d)
      const doubled = y.map((v, i) => 2 * v - moments.mean[i % d])
      const covariance = moments.covariance()
      const trace = moments.mean.reduce((sum, _, i) => sum + covariance[i * d + i], 0)
      // tr (2 S^1/2 - S^1/2)^2
      expect((await frechetDistance(y, doubled, { dim: d })) / trace, `${d} features`).toBeCloseTo(1, 5)
    }
    const far = x.map((v) => v + 1000)
    expect(await precisionRecall(x, far, { dim: 3 })).toEqual({ precision: 0, recall: 0 })
    expect(await densityCoverage(x, far, { dim: 3 })).toEqual({ density: 0, coverage: 0 })
  })

  it('is unbiased: kernel distance and MMD scatter around 0 for one distribution', async () => {
    const [x, y] = [normals(2000 * 4, 3), normals(2000 * 4, 4)]
    const { mean, standardError, subsets, subsetSize } = await kernelDistance(x, y, { dim: 4 })
    expect([subsets, subsetSize]).toEqual([10, 200])
    expect(Math.abs(mean)).toBeLessThan(4 * standardError)
    expect(Math.abs((await mmd(x, y, { dim: 4, bandwidths: [1] })).squared)).toBeLessThan(2e-3)
    const shifted = y.map((v) => v + 0.5)
    const moved = await kernelDistance(x, shifted, { dim: 4 })
    expect(moved.mean).toBeGreaterThan(6 * moved.standardError)
  })

  it('takes repeated rows and whole weights for the same', async () => {
    const x = Float32Array.of(0, 1, 5)
    const repeated = Float32Array.of(0, 1, 1, 1, 5, 5)
    const weights = Float64Array.of(1, 3, 2)
    const y = Float32Array.of(2, 2.5)
    const plain = await slicedWasserstein(repeated, y, { dim: 1 })
    expect(await slicedWasserstein(x, y, { dim: 1, weightsA: weights })).toBeCloseTo(plain, 12)
    expect(await slicedWasserstein(y, x, { dim: 1, weightsB: weights })).toBeCloseTo(plain, 12)
  })

  it('gives the same for the same seed', async () => {
    const once = await kernelDistance(a, b, { dim, seed: 3 })
    expect(await kernelDistance(a, b, { dim, seed: 3 })).toEqual(once)
    expect(await kernelDistance(a, b, { dim, seed: 4 })).not.toEqual(once)
    const sliced = await slicedWasserstein(a, b, { dim, seed: 3 })
    expect(await slicedWasserstein(a, b, { dim, seed: 3 })).toBe(sliced)
    expect(await slicedWasserstein(a, b, { dim, seed: 4 })).not.toBe(sliced)
  })
})

describe('FeatureMoments', () => {
  it('does not depend on how the samples come, nor lose digits far from the origin', async () => {
    const d = 131
    const [n, offset] = [700, 4096]
    const x = normals(n * d, 5).map((v) => offset + Math.round(v * 1024) / 1024)
    const whole = await FeatureMoments.of(x, d)
    const parts = new FeatureMoments(d)
    for (const [from, to] of [
      [0, 1],
      [1, 300],
      [300, 301],
      [301, 700],
    ])
      await parts.add(x.subarray(from * d, to * d))
    const mean = (k: number) => {
      let sum = 0
      for (let i = 0; i < n; i++) sum += x[i * d + k] - offset
      return sum / n
    }
    const covariance = (p: number, q: number) => {
      let sum = 0
      for (let i = 0; i < n; i++) sum += (x[i * d + p] - offset - mean(p)) * (x[i * d + q] - offset - mean(q))
      return sum / (n - 1)
    }
    for (const moments of [whole, parts]) {
      expect(moments.count).toBe(n)
      for (const [p, q] of [
        [0, 0],
        [3, 130],
        [130, 3],
        [129, 128],
        [130, 130],
      ]) {
        expect(moments.mean[p] - offset).toBeCloseTo(mean(p), 9)
        expect(moments.covariance()[p * d + q]).toBeCloseTo(covariance(p, q), 9)
      }
    }
  })
})

describe('symmetric matrices', () => {
  it('has the eigenvalues of a rotated diagonal, repeated ones and zeros among them', async () => {
    for (const n of [1, 2, 3, 40, 131]) {
      const wanted = Float64Array.from({ length: n }, (_, i) => [0, 0, 1, 1, 1e-6 * i, i ** 2 - 7][i % 6]).sort()
      const matrix = new Float64Array(n * n)
      for (let i = 0; i < n; i++) matrix[i * n + i] = wanted[i]
      for (let r = 0; r < 4; r++) reflect(matrix, Float64Array.from(normals(n, 10 + r)))
      const found = (await symmetricEigenvalues(matrix, n)).sort()
      const scale = Math.max(1, ...wanted)
      for (let i = 0; i < n; i++) expect(Math.abs(found[i] - wanted[i])).toBeLessThan(1e-13 * n * scale)
    }
  })

  it('has the eigenvalues of a matrix whose many small ones drown in rounding', async () => {
    const n = 200
    const rows = normals(n * n, 9).map((v, i) => v * Math.exp(-(i % n) / 10))
    const matrix = Float64Array.from({ length: n * n }, (_, at) => {
      let sum = 0
      for (let k = 0; k < n; k++) sum += rows[k * n + Math.floor(at / n)] * rows[k * n + (at % n)]
      return sum
    })
    const [trace, squares] = [0, 1].map((power) =>
      matrix.reduce((sum, v, at) => sum + (power ? v * v : Math.floor(at / n) === at % n ? v : 0), 0),
    )
    const found = await symmetricEigenvalues(matrix, n)
    expect(found.reduce((sum, v) => sum + v, 0) / trace).toBeCloseTo(1, 12)
    expect(found.reduce((sum, v) => sum + v * v, 0) / squares).toBeCloseTo(1, 12)
    expect(Math.min(...found) / trace).toBeGreaterThan(-1e-14)
  })

  it('factors a matrix of less than full rank', async () => {
    const [n, rank] = [30, 11]
    const x = Float64Array.from(normals(rank * n, 6))
    const gram = (rows: Float64Array, count: number) =>
      Float64Array.from({ length: n * n }, (_, at) => {
        let sum = 0
        for (let k = 0; k < count; k++) sum += rows[k * n + Math.floor(at / n)] * rows[k * n + (at % n)]
        return sum
      })
    const matrix = gram(x, rank)
    const found = await choleskyFactor(matrix, n)
    expect(found.rank).toBe(rank)
    for (const [i, value] of gram(found.factor, rank).entries()) expect(value).toBeCloseTo(matrix[i], 11)
  })

  /** H A H with the reflection H = I - 2 v v^T / |v|^2. */
  function reflect(matrix: Float64Array, v: Float64Array): void {
    const n = v.length
    const squares = v.reduce((sum, x) => sum + x * x, 0)
    for (const transposed of [false, true])
      for (let i = 0; i < n; i++) {
        const at = (k: number) => (transposed ? i * n + k : k * n + i)
        let along = 0
        for (let k = 0; k < n; k++) along += v[k] * matrix[at(k)]
        for (let k = 0; k < n; k++) matrix[at(k)] -= (2 * along * v[k]) / squares
      }
  }
})

describe('bad input', () => {
  const x = normals(60, 7)

  it('is refused with what was wrong', async () => {
    const nan = Float32Array.from(x)
    nan[17] = Number.NaN
    const all = [frechetDistance, kernelDistance, precisionRecall, densityCoverage, slicedWasserstein, mmd]
    for (const metric of all) {
      await expect(metric(x, nan, { dim: 3 }), metric.name).rejects.toThrow(/finite features .* number 17 is NaN/)
      await expect(metric(x, x, { dim: 7 }), metric.name).rejects.toThrow(/multiple of dim = 7/)
      await expect(metric(x, x, { dim: 3, bins: 4 } as never), metric.name).rejects.toThrow(ArgumentError)
      await expect(metric([...x] as never, x, { dim: 3 }), metric.name).rejects.toThrow(ArgumentError)
      await expect(metric(x, new Float32Array(0), { dim: 3 }), metric.name).rejects.toThrow(/at least/)
    }
    await expect(frechetDistance(x, x)).rejects.toThrow(/dim/)
    await expect(frechetDistance(x.subarray(0, 3), x, { dim: 3 })).rejects.toThrow(/at least 2 samples/)
    await expect(frechetDistance(await FeatureMoments.of(x, 3), x, { dim: 4 })).rejects.toThrow(
      /3 features but b has 4/,
    )
    await expect(precisionRecall(x.subarray(0, 9), x, { dim: 3 })).rejects.toThrow(/at least 4 samples/)
    await expect(kernelDistance(x, x, { dim: 3, subsetSize: 11 })).rejects.toThrow(/need 22 samples but there are 20/)
    await expect(mmd(x.fill(1), x, { dim: 3 })).rejects.toThrow(/bandwidths/)
    const negative = new Float64Array(20).fill(1).fill(-1, 0, 1)
    await expect(mmd(x, x, { dim: 3, weightsA: negative })).rejects.toThrow(/weightsA/)
    await expect(slicedWasserstein(x, x, { dim: 3, weightsB: new Float64Array(20) })).rejects.toThrow(/positive/)
    await expect(slicedWasserstein(x, x, { dim: 3, directions: Float32Array.of(1, 1, 0) })).rejects.toThrow(/length 1/)
  })
})

describe('long work', () => {
  it('leaves the event loop free and stops when aborted', async () => {
    const x = normals(6000 * 64, 8)
    const reason = new Error('enough')
    for (const metric of [frechetDistance, kernelDistance, precisionRecall, densityCoverage, slicedWasserstein, mmd]) {
      const controller = new AbortController()
      const timer = setTimeout(() => controller.abort(reason), 30)
      const began = performance.now()
      const large = metric === frechetDistance ? 1536 : 64
      await expect(metric(x, x, { dim: large, signal: controller.signal }), metric.name).rejects.toBe(reason)
      expect(performance.now() - began).toBeLessThan(5000)
      clearTimeout(timer)
    }
  })
})
