import { describe, expect, it } from 'vitest'
import type { EnergyModel } from '../lib/models/energy.js'
import { type Composition, composeTarget, parseAttributes, parseTerm } from '../lib/service/composition.js'
import type { EnergyFunction } from '../lib/smc/energy-function.js'

describe('terms of a composition', () => {
  it('reads attributes and files', () => {
    expect(parseTerm('hair=3,pose=front')).toEqual({ file: null, labels: { hair: 3, pose: 'front' } })
    expect(parseTerm('@hair=3')).toEqual({ file: null, labels: { hair: 3 } })
    expect(parseTerm('a/b.safetensors@hair=3')).toEqual({ file: 'a/b.safetensors', labels: { hair: 3 } })
    expect(parseTerm('a/b.safetensors')).toEqual({ file: 'a/b.safetensors', labels: null })
    for (const bad of ['hair', 'hair=', '=3', 'hair=1,hair=2', '']) expect(() => parseAttributes(bad)).toThrow()
  })
})

describe('composeTarget', () => {
  // a model whose energy is k_c x^2 / 2, k_c told by the labels: sums of energies show as sums of k
  const stiffness = (labels: object | null) =>
    labels ? Object.values(labels as Record<string, number>).reduce((sum, k) => sum + k, 0) : 1
  const energy = (k: number): EnergyFunction => ({
    shape: [1],
    energyGrad: async (x) => ({ energy: Float64Array.from(x, (v) => (k * v * v) / 2), grad: x.map((v) => k * v) }),
  })
  const model = (scale: number) =>
    ({
      ...energy(scale),
      conditioned: (labels: object) => energy(scale * stiffness(labels)),
    }) as unknown as EnergyModel
  const load = async (file: string | null) => model(file ? 100 : 1)
  const plain: Composition = {
    base: null,
    also: [],
    not: [],
    strength: 0.5,
    dividePrior: false,
    guidance: 1,
    gamma: 1,
    box: null,
  }
  const found = async (composition: Partial<Composition>) => {
    const target = await composeTarget({ ...plain, ...composition }, load)
    const { energy: value, grad } = await target.energyGrad(Float32Array.of(2), 1)
    expect(grad[0]).toBeCloseTo(value[0]!, 3) // k x at x = 2 is k x^2 / 2
    return value[0]! / 2
  }
  const a3 = { file: null, labels: { a: 3 } }

  it('multiplies, divides, guides and sharpens', async () => {
    expect(await found({})).toBeCloseTo(1)
    expect(await found({ base: { a: 5 } })).toBeCloseTo(5)
    expect(await found({ base: { a: 5 }, also: [a3] })).toBeCloseTo(8)
    expect(await found({ base: { a: 5 }, also: [a3], dividePrior: true })).toBeCloseTo(7)
    expect(await found({ base: { a: 5 }, also: [{ file: 'other', labels: { a: 2 } }] })).toBeCloseTo(205)
    expect(await found({ base: { a: 5 }, not: [a3], strength: 0.5 })).toBeCloseTo(3.5)
    // NOT of what the condition adds: (p(x) / p(x | a))^strength
    expect(await found({ base: { a: 5 }, not: [a3], dividePrior: true })).toBeCloseTo(4)
    expect(await found({ base: { a: 5 }, also: [a3], not: [a3], gamma: 2, dividePrior: true })).toBeCloseTo(12)
    expect(await found({ not: [a3], dividePrior: true })).toBeCloseTo(0)
    expect(await found({ base: { a: 5 }, guidance: 3 })).toBeCloseTo(13)
    expect(await found({ base: { a: 5 }, also: [a3], gamma: 2 })).toBeCloseTo(16)
    expect(await found({ base: { a: 3 }, also: [a3] })).toBeCloseTo(6)
  })

  it('evaluates a repeated density once, and names it', async () => {
    const target = await composeTarget({ ...plain, base: { a: 3 }, also: [a3] }, load)
    expect(target).toMatchObject({ exponents: [2], models: [{ name: 'the energy given a=3' }] })
  })

  it('keeps inside a box', async () => {
    const target = await composeTarget({ ...plain, box: [-1, 1] }, load)
    const { energy: inside } = await target.energyGrad(Float32Array.of(0.5), 0.01)
    const { energy: outside } = await target.energyGrad(Float32Array.of(1.5), 0.01)
    expect(inside[0]).toBeCloseTo(0.125, 3)
    expect(outside[0]).toBeGreaterThan(500)
  })

  it('rejects what makes no sense', async () => {
    await expect(found({ guidance: 2 })).rejects.toThrow(/guidance/)
    await expect(found({ dividePrior: true, base: { a: 1 } })).rejects.toThrow(/dividePrior needs/)
    await expect(found({ dividePrior: true, base: { a: 1 }, also: [{ file: null, labels: null }], not: [a3] })).rejects.toThrow(/dividePrior needs/) // biome-ignore format: one line
    await expect(found({ dividePrior: true, not: [{ file: 'other', labels: null }] })).rejects.toThrow(/dividePrior needs/) // biome-ignore format: one line
    await expect(found({ base: { a: 3 }, not: [a3], strength: 1 })).rejects.toThrow(/cancel/)
  })
})
