import { describe, expect, it } from 'vitest'
import { ArgumentError, DeviceError } from '../lib/base/errors.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { native, run } from '../lib/native/addon.js'
import { devices, freeMemory, placement } from '../lib/native/devices.js'
import { residualMLP } from '../lib/networks/config.js'

const network = residualMLP(3, { hidden: 20, layers: 2 })
const gpu = native.cuda().devices.length > 0

describe('devices', () => {
  it('has the CPU, and the best device is what auto means', () => {
    const found = devices()
    expect(found.map(({ name }) => name)).toContain('cpu')
    for (const { description, memory } of found) {
      expect(description).toMatch(/\w/)
      expect(memory).toBeGreaterThan(0)
    }
    expect(placement({}).device).toBe(found[0]!.name)
    expect(placement({ device: 'cuda', precision: 'tf32' })).toEqual({ device: 'cuda:0', precision: 'tf32' })
  })

  it.each(['cuda:99', 'cuda:', 'cuda:-1', 'cuda:x', 'gpu', ''])('there is no device %j', async (device) => {
    await expect(Denoiser.create({ network }, { device })).rejects.toThrow(DeviceError)
  })

  it('says why there is no CUDA device', () => {
    const { devices: list, reason } = native.cuda()
    if (list.length === 0) expect(reason).toMatch(/CUDA|driver/)
  })

  it('refuses other precisions, and reduced ones on the CPU', async () => {
    const wrong = [{ precision: 'fp64' }, { device: 'cpu', precision: 'tf32' }, { device: 7 }] as never[]
    for (const options of wrong) await expect(Denoiser.create({ network }, options)).rejects.toThrow(ArgumentError)
  })
})

describe.runIf(gpu)('a CUDA device', () => {
  const x = Float32Array.from({ length: 12 }, (_, i) => Math.sin(3 * i))
  const sigma = Float64Array.of(0.1, 0.5, 2, 10)

  async function results(device: string, precision: 'fp32' | 'tf32' | 'bf16') {
    using model = await EnergyModel.create({ kind: 'dot', network }, { device, precision, seed: 3 })
    const { energy, grad } = await model.energyGrad(x, sigma)
    const losses = new Float64Array(4)
    for (let step = 1; step <= 3; step++)
      await run(() =>
        model.network.train({
          ...{
            kind: 'dot',
            headScale: 0.5,
            sigmaMin: 0.002,
            sigmaMax: 80,
            dropout: 0.2,
            x0: x,
            microBatch: 3,
            pMean: -1.2,
            pStd: 1.2,
            seed: 1,
            step,
          },
          ...{ lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, muon: 0, clip: 1, emaDecay: 0.9 },
          ...{ losses, sigmas: new Float64Array(4) },
        }),
      )
    const weights = new Float32Array(model.network.parameterCount())
    await run(() => model.network.read('ema', weights))
    return [Float64Array.from(energy), Float64Array.from(grad), losses, Float64Array.from(weights)]
  }

  const distance = (a: Float64Array, b: Float64Array) =>
    Math.sqrt(a.reduce((sum, v, i) => sum + (v - b[i]!) ** 2, 0) / b.reduce((sum, v) => sum + v * v, 1e-30))

  it.each([
    ['fp32', 1e-5],
    ['tf32', 1e-2],
    ['bf16', 5e-2],
  ] as const)('computes and trains as the CPU does, in %s', async (precision, bound) => {
    const cpu = await results('cpu', 'fp32')
    const cuda = await results('cuda:0', precision)
    for (const [i, values] of cuda.entries()) expect(distance(values, cpu[i]!)).toBeLessThan(bound)
  })

  it('passes its self-test on the fast kernels', async () => {
    const { path, failure } = await run(() => native.checkCuda(0))
    expect(path).not.toBe('plain')
    expect(failure).toBe('')
  })

  it('has free memory, and no more than memory', () => {
    const [{ memory }] = native.cuda().devices
    expect(freeMemory('cuda:0')).toBeGreaterThan(0)
    expect(freeMemory('cuda:0')).toBeLessThanOrEqual(memory)
    expect(() => freeMemory('cuda:99')).toThrow(DeviceError)
  })

  it('is not used after dispose', async () => {
    const model = await Denoiser.create({ network }, { device: 'cuda:0' })
    await model.denoise(x, 1)
    model.dispose()
    await expect(model.denoise(x, 1)).rejects.toThrow(/disposed/)
  })

  it('needs teacher and student on one device', async () => {
    using student = await EnergyModel.create({ kind: 'dot', network }, { device: 'cuda:0' })
    using teacher = await Denoiser.create({ network }, { device: 'cpu' })
    const step = run(() =>
      student.network.train({
        ...{ kind: 'dot', headScale: 0.5, x0: x, microBatch: 4, pMean: -1, pStd: 1, seed: 1, step: 1 },
        ...{ sigmaMin: 0.002, sigmaMax: 80, dropout: 0 },
        ...{ lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, muon: 0, clip: 1, emaDecay: 0.9, teacher: teacher.network },
        ...{ losses: new Float64Array(4), sigmas: new Float64Array(4) },
      }),
    )
    await expect(step).rejects.toThrow(/same device/)
  })
})
