import { setImmediate } from 'node:timers'
import { beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, gaussianMixture, product, sigmaGrid, smc } from '../lib/index.js'
import { native, run } from '../lib/native/addon.js'

/** Native work on few particles is done at once, on many on a thread (native/addon/request.h): nobody sees the difference. */

beforeAll(() => native.setThreads(1))

const [FEW, MANY, D] = [100, 20_000, 3]
const mixture = {
  logWeights: Float64Array.of(Math.log(0.3), Math.log(0.7)),
  means: Float64Array.of(0, 0, 0, 1, -1, 2),
  covariances: Float64Array.of(0.5, -0.01),
  form: 'scalar' as const,
}
const target = product([
  gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] }), // biome-ignore format: one line
  gaussianMixture({ weights: [1], means: [[0.5, 0]], covariances: [0.7] }),
])
const sigmas = sigmaGrid({ steps: 500, min: 0.01, max: 20 })

/** Energies at the first rows of one set of points, and their gradients moved by noise. */
function jobs(rows: number, sigma: number) {
  const x = new Float32Array(rows * D)
  native.normals(x, rows, 1, 1, 0)
  const out = { energy: new Float64Array(rows), grad: new Float32Array(rows * D), moved: new Float32Array(rows * D) }
  const energies = () => native.mixtureEnergy({ energy: out.energy, grad: out.grad, x, sigma, mixture })
  const noise = { std: 0.1, seed: 5, purpose: 1, step: 2 }
  const moves = () => native.combine({ out: out.moved, terms: [x, out.grad], coefficients: Float64Array.of(1, -0.5), rows, noise }) // biome-ignore format: one line
  return { out, energies, moves }
}

describe('few values and many', () => {
  it('give the same bits', async () => {
    const [few, many] = [jobs(FEW, 0.4), jobs(MANY, 0.4)]
    expect(few.energies()).toEqual({ value: undefined })
    const job = many.energies()
    if ('value' in job) throw new Error('many values did not go to a thread')
    await job.promise
    await run(few.moves)
    await run(many.moves)
    for (const name of ['energy', 'grad', 'moved'] as const)
      expect(few.out[name]).toEqual(many.out[name].subarray(0, few.out[name].length))
  })

  it('throw the same errors', async () => {
    for (const rows of [FEW, MANY])
      await expect(run(jobs(rows, 0.05).energies)).rejects.toThrow(new ArgumentError('expected positive definite covariances (plus sigma^2) for the mixture')) // biome-ignore format: one line
  })
})

describe('a run of few particles', () => {
  it('gives the event loop its turns', async () => {
    let [turns, over] = [0, false]
    const count = () => {
      turns++
      if (!over) setImmediate(count)
    }
    setImmediate(count)
    await smc(target, { particles: 64, sigmas, seed: 1 })
    over = true
    expect(turns).toBeGreaterThan(8)
  })

  it('stops where it is aborted', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    let levels = 0
    const running = smc(target, { particles: 64, sigmas, seed: 1, signal: controller.signal, onProgress: () => void levels++ }) // biome-ignore format: one line
    setImmediate(() => controller.abort(reason))
    await expect(running).rejects.toBe(reason)
    expect(levels).toBeLessThan(sigmas.length - 1)
  })
})
