import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { main } from '../lib/cli/index.js'
import { loadDataset } from '../lib/data/load.js'
import { EnergyModel } from '../lib/models/energy.js'
import { readTables } from '../lib/models/tables.js'
import { residualMLP } from '../lib/networks/config.js'
import { bearableAbove, measureConsistency, noisyBelow, quartileVariance } from '../lib/smc/consistency.js'
import type { Consistency, EnergyFunction } from '../lib/smc/energy-function.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { ParticleRng } from '../lib/smc/random.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import { asTarget, lowTemperature, negation, product } from '../lib/smc/targets/linear.js'

/** How consistent an energy is between noise levels, and weighAbove: 'auto' by it. */

const d = 4
const exact = gaussianMixture({ weights: [1], means: [new Array(d).fill(0.2)], covariances: [0.25] })
/** Off by a number of its own at every state and level below a noise. */
const wrong = (error: number, below: number): EnergyFunction => ({
  shape: [d],
  async energyGrad(x, sigma) {
    const { energy, grad } = await exact.energyGrad(x, sigma)
    const off = sigma < below ? error : 0
    return { energy: energy.map((e, i) => e + off * Math.sin(1e4 * x[i * d] + 1e3 * sigma)), grad }
  },
})
const path = { max: 32, min: 0.125, particles: 64, seed: 3 }

test('variances by quartiles', () => {
  const normals = Float64Array.from(new ParticleRng(1, 0, 4000).normals(), (v) => 3 * v)
  expect(Math.abs(quartileVariance(normals) / 9 - 1)).toBeLessThan(0.1)
  normals.set([1e9, -1e9, 1e9])
  expect(Math.abs(quartileVariance(normals) / 9 - 1)).toBeLessThan(0.1)
  expect(quartileVariance(Float64Array.of(2, 2, 2, 9))).toBeCloseTo((1.75 / 1.3489795) ** 2)
})

test('an exact energy has small variances, one with errors those of its errors where they are', async () => {
  const clean = await measureConsistency(exact, path)
  expect(clean.bands.map(({ from }) => Math.round(from * 1e6) / 1e6)).toEqual([32, 16, 8, 4, 2, 1, 0.5, 0.25])
  expect(clean.bands.at(-1)!.to).toBe(0.125)
  for (const { robust, above } of clean.bands) expect(Math.max(robust, above)).toBeLessThan(1)
  expect(noisyBelow(clean)).toBe(0)
  const { bands } = await measureConsistency(wrong(10, 0.9), path)
  // errors at both ends of a sum: twice the 50 of a sine of amplitude 10
  for (const { from, variance, steps } of bands) {
    expect(variance > 20, `${from}`).toBe(from < 1.1)
    // independent errors: the steps' variances add up to more than the sum's
    if (from < 1.1) expect(steps).toBeGreaterThan(variance)
  }
  expect(noisyBelow({ bands, perOctave: 8, particles: 64 })).toBeCloseTo(1)
  expect(await measureConsistency(exact, path)).toEqual(clean)
  // nothing more to measure below
  const lost = (await measureConsistency(wrong(Number.POSITIVE_INFINITY, 0.9), path)).bands.at(-1)!
  expect(lost.from).toBeCloseTo(1)
  expect(JSON.parse(JSON.stringify(lost))).toEqual({ ...lost, variance: 1e300, robust: 1e300, steps: 1e300, above: 1e300 }) // biome-ignore format: one line
})

test('on noised data an exact energy has small variances, of pictures too, and one with errors those of its errors', async () => {
  const clean = exact.sample(64, { seed: 1 })
  const { bands, data } = await measureConsistency(exact, { ...path, clean })
  expect(data!.map(({ from }) => from)).toEqual(bands.map(({ from }) => from))
  for (const { variance, above } of data!) expect(Math.max(variance, above)).toBeLessThan(1)
  const off = await measureConsistency(wrong(10, 0.9), { ...path, clean })
  for (const { from, variance } of off.data!) expect(variance > 20, `${from}`).toBe(from < 1.1)
  // by cosines: the exact kernels of a Gaussian leave nothing but rounding
  const shape = [1, 2, 2]
  const table = { basis: 'dct' as const, precisionAt: (sigma: number, noise = sigma) => new Float64Array(d).fill(1 / (0.25 + noise * noise)) } // biome-ignore format: one line
  const pictures = await measureConsistency({ ...exact, shape, calibration: table }, { ...path, clean })
  for (const { variance } of pictures.data!) expect(variance).toBeLessThan(1e-5)
})

test('V holds what the number of levels adds, and is not measured where no run can weigh', async () => {
  const means = [-0.5, 0.5].map((mean) => new Array(16).fill(mean))
  const kinds = gaussianMixture({ weights: [0.5, 0.5], means, covariances: [0.01, 0.05] })
  const by = async (perOctave?: number) => measureConsistency(kinds, { ...path, particles: 128, perOctave })
  const [two, eight] = [await by(2), await by()]
  expect([two.perOctave, eight.perOctave]).toEqual([2, 8])
  for (const [b, { from }] of two.bands.entries()) expect(from).toBeCloseTo(eight.bands[b]!.from)
  // exact energies have nothing but the kernels' errors
  expect(two.bands.at(-1)!.above).toBeGreaterThan(2 * eight.bands.at(-1)!.above)
  const hopeless = await measureConsistency(wrong(40, 3.9), path)
  expect(hopeless.bands.map(({ above }) => above > 400)).toEqual([false, false, false, true])
})

test("weighAbove: 'auto' weighs as far down as the target bears it", async () => {
  const calibration = (consistency?: Consistency) => ({
    basis: 'identity' as const,
    precisionAt: (sigma: number, noise = sigma) => new Float64Array(d).fill(1 / (0.25 + noise * noise)),
    consistency,
  })
  const bands = [16, 4, 1, 0.25].map((to, i) => ({ from: 4 * to, to, variance: 0, robust: 0, steps: 0, above: [0.1, 0.9, 3, 50][i] })) // biome-ignore format: one line
  const learnt: EnergyFunction = {
    ...wrong(20, 0.9),
    learnt: true,
    calibration: calibration({ bands, perOctave: 8, particles: 64 }),
  }
  const sigmas = sigmaGrid({ steps: 24, min: 0.3, max: 40 })
  const smallest = (least: number) => sigmas.filter((s) => s >= least).at(-1)!
  expect(bearableAbove(asTarget(learnt), sigmas)).toBe(smallest(1))
  // 24 levels are three or four an octave about 2: the kernels' errors then add 5 W or more to V = 3
  const rough = { bands: bands.map((band) => ({ ...band, steps: 0.3 })), perOctave: 8, particles: 64 }
  const coarse = asTarget({ ...learnt, calibration: calibration(rough) })
  expect(bearableAbove(coarse, sigmas)).toBe(smallest(4))
  expect(bearableAbove(coarse, sigmaGrid({ steps: 240, min: 0.3, max: 40 }))).toBeLessThan(1.03)
  // twice the deviation: 4 x 0.9 is bearable, 4 x 3 is not
  expect(bearableAbove(lowTemperature(learnt, { gamma: 2 }), sigmas)).toBe(smallest(4))
  expect(bearableAbove(negation(learnt, learnt, { strength: 0.5, floor: 0.2 }), sigmas)).toBe(smallest(4))
  expect(bearableAbove(product([learnt, exact]), sigmas)).toBe(smallest(1))
  expect(bearableAbove(lowTemperature(learnt, { gamma: 20 }), sigmas)).toBe(Number.POSITIVE_INFINITY)
  expect(bearableAbove(asTarget(exact), sigmas)).toBe(0.3)
  const options = { particles: 64, sigmas, weighAbove: 'auto' as const }
  const run = await smc(learnt, options)
  expect(run).toMatchObject({ scheme: 'bridge', collapsed: false, note: expect.stringContaining(`${smallest(1)}`) })
  expect((await smc(learnt, { ...options, weighAbove: 0 })).collapsed).toBe(true)
  expect((await smc(lowTemperature(learnt, { gamma: 20 }), options)).scheme).toBe('none')
  const picture = { ...learnt, shape: [1, 2, 2] }
  expect((await smc(picture, { particles: 8, sigmas })).note).toMatch(/^no weights.*--weigh-above auto\)$/)
  const unknown = { ...learnt, name: 'the ring', calibration: calibration() }
  await expect(smc(product([exact, unknown]), options)).rejects.toThrow(/the ring was not measured: 'feynkac calibrate'/) // biome-ignore format: one line
})

test('calibrate measures it, the file keeps it and inspect shows it', async () => {
  const folder = await mkdtemp(join(os.tmpdir(), 'feynkac-consistency-'))
  let out = ''
  vi.spyOn(console, 'log').mockImplementation((text) => {
    out += `${text}\n`
  })
  try {
    const file = join(folder, 'model.safetensors')
    using model = await EnergyModel.create({ network: residualMLP(2, { hidden: 8, layers: 1 }), kind: 'dot', sigmaMin: 0.1, sigmaMax: 6.4 }) // biome-ignore format: one line
    const data = await loadDataset('synthetic:ring:count=64')
    await model.calibrate({ data, count: 16, levels: 4 })
    expect(model.calibration!.consistency).toMatchObject({ particles: 16 })
    expect(model.calibration!.consistency).not.toHaveProperty('data')
    await model.calibrate({ data, count: 80, levels: 4 })
    const { consistency } = model.calibration!
    expect(consistency).toMatchObject({ particles: 20, perOctave: 8 })
    expect(consistency!.bands).toHaveLength(6)
    expect(consistency!.data).toHaveLength(6)
    await model.save(file)
    using again = await EnergyModel.load(file)
    expect(again.calibration!.consistency).toEqual(consistency)
    expect(await main(['inspect', file])).toBe(0)
    expect(out).toMatch(/^weights {5}(the energy's weights are noise below|small variances)/m)
    expect(out.match(/^ {12} +[\d.e+-]+ +[\d.e+-]+: +[\d.e+-]+ \([^;]*; +[\d.e+-]+ +[\d.e+-]+$/gm)).toHaveLength(6)
    expect(out).toMatch(/^ {12}sigma from, to: variance of the log-weights by 8 levels an octave/m)
    const tables = JSON.parse(JSON.stringify(again.info.calibration))
    const fail = (what: string): never => {
      throw new Error(what)
    }
    for (const bad of [3, {}, { bands: [{}], particles: 3 }, { ...consistency!, perOctave: 0.5 }, { bands: [{ ...consistency!.bands[0], steps: -1 }], particles: 3 }, { bands: [], data: [{}], particles: 3 }]) // biome-ignore format: one line
      expect(() => readTables({ unconditional: { ...tables.unconditional, consistency: bad } }, [2], fail)).toThrow(/valid consistency/) // biome-ignore format: one line
    // a file of before: of two levels an octave, and inspect says so
    const { perOctave: _, ...before } = consistency!
    const old = readTables({ unconditional: { ...tables.unconditional, consistency: before } }, [2], fail)
    expect(old.unconditional.consistency).toEqual({ ...before, perOctave: 2 })
    const bytes = await readFile(file, 'latin1')
    await writeFile(file, bytes.replace('perOctave', 'formerly.'), 'latin1')
    out = ''
    expect(await main(['inspect', file])).toBe(0)
    expect(out).toMatch(/^ {12}of 2 levels an octave.*feynkac calibrate measures by these$/m)
    expect(out).toContain('log-weights by 2 levels an octave')
  } finally {
    vi.restoreAllMocks()
    await rm(folder, { recursive: true, force: true })
  }
})
