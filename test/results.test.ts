import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  checkEnergy,
  type EnergyFunction,
  EnergyModel,
  FormatError,
  gaussianMixture,
  gridPng,
  guidedDenoiser,
  loadResult,
  lowTemperature,
  mcmc,
  npyBytes,
  readNpy,
  residualMLP,
  resultFromJSON,
  sample,
  scatterPng,
  sigmaGrid,
  smc,
  writeNpy,
} from '../lib/index.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-results-'))
})
afterAll(() => rm(folder, { recursive: true }))

const two = gaussianMixture({ weights: [1, 3], means: [[-1, 0], [1, 0.5]], covariances: [0.1, 0.2] }) // biome-ignore format: two points
const sigmas = sigmaGrid({ steps: 12, min: 0.05, max: 10 })
const runs = {
  smc: () => smc(lowTemperature(two, { gamma: 1.5 }), { particles: 64, sigmas }),
  mcmc: () => mcmc(two, { chains: 16, sigmas: [2, 1] }),
  sample: () => sample(two, { particles: 16, sigmas: [...sigmas, 0] }),
}

describe.each(Object.entries(runs))('%s', (kind, run) => {
  it('has weights, moments and resampled samples', async () => {
    const result = await run()
    const { weights, samples, particles, logWeights } = result
    expect(result.kind).toBe(kind)
    expect(result.shape).toEqual([2])
    expect(weights.length).toBe(particles)
    expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12)
    const [mean, variance] = [result.mean(), result.variance()]
    for (const j of [0, 1]) {
      const values = Array.from(logWeights, (_, i) => samples[2 * i + j]!)
      const expected = values.reduce((sum, x, i) => sum + weights[i]! * x, 0)
      expect(mean[j]).toBeCloseTo(expected, 12)
      expect(variance[j]).toBeCloseTo(
        values.reduce((sum, x, i) => sum + weights[i]! * (x - expected) ** 2, 0),
        12,
      )
    }
    const drawn = result.resampled(1000, { seed: 3 })
    expect(drawn).toEqual(result.resampled(1000, { seed: 3 }))
    const average = drawn.filter((_, i) => i % 2 === 0).reduce((a, b) => a + b) / 1000
    expect(Math.abs(average - mean[0]!)).toBeLessThan(0.02) // systematic: off by at most one copy of each
    expect([result.warnings, result.collapsed]).toEqual([[], false])
    expect(result.ess.at(-1)).toBeLessThanOrEqual(particles)
  })

  it.each(['base64', 'plain'] as const)('comes back from JSON with %s arrays', async (arrays) => {
    const result = await run()
    const text = JSON.stringify({ result: arrays === 'base64' ? result : result.toJSON({ arrays }) })
    const again = resultFromJSON(JSON.parse(text).result)
    expect(again).toEqual(result)
    expect(again.constructor).toBe(result.constructor)
  })

  it('is saved and loaded', async () => {
    const result = await run()
    const at = join(folder, kind)
    const files = await result.save(at)
    expect(files.map((file) => file.slice(at.length + 1))).toEqual([
      'samples.npy',
      ...(kind === 'smc' ? ['weights.npy'] : []),
      'result.json',
    ])
    expect(await loadResult(at)).toEqual(result)
    if (kind === 'smc')
      expect(await readNpy(join(at, 'weights.npy'))).toMatchObject({ shape: [result.particles], data: result.weights })
    await expect(result.save(at)).rejects.toThrow(/would be overwritten/)
    await result.save(at, { overwrite: true })
  })
})

it('results of pictures are saved with a picture', async () => {
  const pictures = gaussianMixture({ weights: [1], means: [new Array(64).fill(0.3)], covariances: [0.1] })
  const energy: EnergyFunction = { shape: [1, 8, 8], energyGrad: (x, sigma) => pictures.energyGrad(x, sigma) }
  const result = await smc(energy, { particles: 4, sigmas: [2, 1, 0.5], weights: 'none' })
  await result.save(join(folder, 'pictures'))
  expect((await readdir(join(folder, 'pictures'))).sort()).toEqual(['result.json', 'samples.npy', 'samples.png', 'weights.npy']) // biome-ignore format: one line
  expect(result.scheme).toBe('none')
})

it('refuses what is no result', async () => {
  for (const json of [null, 1, [], {}, { kind: 'smc' }, { kind: 'x', shape: [1] }])
    expect(() => resultFromJSON(json)).toThrow(/expected/)
  const whole = (await runs.sample()).toJSON()
  for (const [
    name,
    value,
  ] of Object.entries({ samples: [1, 2], logWeights: 'x', ess: { type: 'Int32Array', base64: '' }, warnings: [1], note: 3, evaluations: 'many' })) // biome-ignore format: one line
    expect(() => resultFromJSON({ ...whole, [name]: value }), name).toThrow(/expected/)
  await writeNpy(join(folder, 'samples.npy'), new Float32Array(2), [1, 2])
  await expect(loadResult(folder)).rejects.toThrow(/result.json/)
  const at = join(folder, 'damaged')
  await (await runs.sample()).save(at)
  await writeNpy(join(at, 'samples.npy'), new Float32Array(2), [1, 2])
  await expect(loadResult(at)).rejects.toThrow(FormatError)
})

it('writes and reads arrays for NumPy', async () => {
  const data = Float32Array.of(1, -2.5, 3, 4, 5, 6)
  await writeNpy(join(folder, 'a.npy'), data, [3, 2])
  expect(await readNpy(join(folder, 'a.npy'))).toEqual({ shape: [3, 2], descr: '<f4', data })
  expect(await readFile(join(folder, 'a.npy'))).toEqual(npyBytes(data, [3, 2]))
  expect(() => npyBytes(data, [4, 2])).toThrow(/shape/)
})

it('draws grids and scatter plots', async () => {
  const png = (bytes: Uint8Array) => expect(Buffer.from(bytes.subarray(1, 4)).toString()).toBe('PNG')
  png(await gridPng(new Float32Array(3 * 16), [1, 4, 4], { columns: 2 }))
  const { samples, weights } = await runs.smc()
  png(await scatterPng(samples, { weights }))
  await expect(gridPng(new Float32Array(5), [1, 4, 4])).rejects.toThrow(/images of/)
  await expect(scatterPng(samples, { axes: [0, 2] })).rejects.toThrow(/axes/)
})

describe('checkEnergy', () => {
  const data = two.sample(400, { seed: 2 })
  const problems = async (energy: EnergyFunction) => (await checkEnergy(energy, { data })).problems.join('\n')
  const changed = (change: (x: Float32Array, sigma: number) => ReturnType<EnergyFunction['energyGrad']>) => ({ shape: [2], energyGrad: change }) // biome-ignore format: one line

  it('finds nothing wrong with an exact energy', async () => {
    const found = await checkEnergy(two, { data })
    expect(found).toMatchObject({ ok: true, problems: [] })
    for (const { gradientError, noiseSlope } of found.levels) {
      expect(gradientError).toBeLessThan(0.01)
      expect(Math.abs(noiseSlope! - 1)).toBeLessThan(0.3)
    }
    expect((await checkEnergy(two)).ok).toBe(true)
  })

  it('tells a wrong gradient, also by its sign', async () => {
    const scaled = (by: number) =>
      changed(async (x, sigma) => {
        const { energy, grad } = await two.energyGrad(x, sigma)
        return { energy, grad: grad.map((g) => by * g) }
      })
    expect(await problems(scaled(1.1))).toMatch(/is not that of its energy at sigma = 1: .* differ by 9.09/)
    expect(await problems(scaled(-1))).toMatch(/is not that of its energy/)
  })

  it('tells a noise level that is a variance', async () => {
    expect(await problems(changed((x, sigma) => two.energyGrad(x, Math.sqrt(sigma))))).toMatch(/does not predict the noise of the data at sigma = 5: .*another quantity, such as a variance/) // biome-ignore format: one line
  })

  it('tells energies that are not finite', async () => {
    const broken = changed(async (x, sigma) => {
      const { energy, grad } = await two.energyGrad(x, sigma)
      return { energy: energy.map((u, i) => (i % 2 ? Number.NaN : u)), grad }
    })
    expect(await problems(broken)).toMatch(/200 of 400 energies or gradients of .* are not finite at sigma = 0.05/)
  })
})

describe('checked where it is given', () => {
  it('a covariance that is none', () => {
    const make = (covariance: number[][]) => () => gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [covariance] }) // biome-ignore format: one line
    expect(make([[1, 2], [2, 1]])).toThrow(/positive semidefinite/) // biome-ignore format: a matrix
    for (const fine of [[[1, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 0.99], [0.99, 1]]]) expect(make(fine)).not.toThrow() // biome-ignore format: matrices
  })

  it('labels that a model does not have', async () => {
    const labels = { attributes: [{ name: 'hair', size: 3, values: ['red', 'fair', 'dark'] }] }
    const network = residualMLP(2, { hidden: 8, layers: 1, label_dim: 3 })
    using model = await EnergyModel.create({ network, kind: 'dot', labels })
    expect(() => model.conditioned({ hair: 'blue' })).toThrow(/red, fair, dark/)
    expect(() => model.conditioned({ eyes: 1 })).toThrow(/unknown attribute/)
    expect(() => model.conditioned(new Float32Array(4))).toThrow(/labels/)
    expect(() => guidedDenoiser(model, { labels: [7], scale: 2 })).toThrow(/attribute 'hair'/)
    for (const fine of [{ hair: 2 }, [null], new Float32Array(3), new Float32Array(6)]) model.conditioned(fine)
  })
})
