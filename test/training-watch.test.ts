import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { networkFor } from '../lib/training/architecture.js'
import { generalSettings } from '../lib/training/recipe.js'
import { emaDecay, learningRate } from '../lib/training/schedule.js'
import { checkSettings, settle } from '../lib/training/settings.js'
import { LossWatch, SigmaBins } from '../lib/training/watch.js'

describe('schedule', () => {
  it('warms up linearly and then stays', () => {
    const rate = { lr: 2e-3, warmUp: 1000, decay: 0, batchSize: 50 }
    expect(learningRate(rate, 250, 6000)).toBeCloseTo(5e-4, 12)
    expect(learningRate(rate, 1000, 6000)).toBe(2e-3)
    expect(learningRate(rate, 6000, 6000)).toBe(2e-3)
    expect(learningRate({ ...rate, warmUp: 0 }, 50, 6000)).toBe(2e-3)
  })

  it('falls linearly to 0 over the last share of the run, and in the last step is not yet 0', () => {
    const rate = { lr: 1, warmUp: 0, decay: 0.5, batchSize: 10 }
    const rates = Array.from({ length: 10 }, (_, i) => learningRate(rate, 10 * (i + 1), 100))
    for (const [i, expected] of [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2].entries())
      expect(rates[i]).toBeCloseTo(expected, 12)
    expect(learningRate({ ...rate, decay: 1 }, 30, 100)).toBeCloseTo(0.8, 12)
    // both at once: 3 images of 4 risen, 70 of 100 left
    expect(learningRate({ ...rate, decay: 1, warmUp: 40 }, 30, 100)).toBeCloseTo(0.75 * 0.8, 12)
  })

  it('halves the weight of the past in a half-life', () => {
    const steps = 1000 / 50
    expect(emaDecay(1000, 1e9, 50) ** steps).toBeCloseTo(0.5, 12)
  })

  it('forgets the start: at first the half-life is 5 % of the images seen', () => {
    expect(emaDecay(1e6, 0, 64)).toBe(0)
    expect(emaDecay(1e6, 2000, 100)).toBeCloseTo(0.5, 12)
    expect(emaDecay(0, 2000, 100)).toBe(0)
  })
})

describe('the loss watched', () => {
  it('has the running median of the last 101 steps', () => {
    const watch = new LossWatch(64, 10)
    for (let i = 0; i < 300; i++) watch.diverged(1 + i * 1e-3)
    expect(watch.median()).toBeCloseTo(1 + 249e-3, 12)
  })

  it('reports losses above the limit in most of five steps, and a number that is not finite', () => {
    const watch = new LossWatch(64, 10)
    expect(watch.diverged(100)).toBe(false)
    for (let i = 0; i < 30; i++) expect(watch.diverged(1)).toBe(false)
    expect(watch.diverged(9.9)).toBe(false)
    for (const expected of [false, false, true]) expect(watch.diverged(10.1)).toBe(expected)
    expect(watch.diverged(1001)).toBe(true)
    expect(watch.diverged(Number.NaN)).toBe(true)
    expect(new LossWatch(64, 10).diverged(Number.POSITIVE_INFINITY)).toBe(true)
  })

  it('does not take one noisy sample for divergence', () => {
    const watch = new LossWatch(1, 10)
    for (let i = 0; i < 200; i++) expect(watch.diverged(i % 50 === 49 ? 30 : 1)).toBe(false)
    const batches = new LossWatch(16, 10)
    for (let i = 0; i < 200; i++) expect(batches.diverged(i % 50 === 49 ? 900 : 1)).toBe(false)
  })

  it('takes losses below the smallest for it, so that some mistakes after many hits are no divergence', () => {
    const watch = new LossWatch(64, 10, [], [], 0.1)
    for (let i = 0; i < 30; i++) watch.diverged(1e-4)
    expect(watch.diverged(0.99)).toBe(false)
    for (const expected of [false, false, true]) expect(watch.diverged(1.01)).toBe(expected)
  })

  it('goes on from its state', () => {
    const whole = new LossWatch(8, 10)
    const first = new LossWatch(8, 10)
    for (let i = 0; i < 70; i++) {
      whole.diverged(Math.cos(i) + 2)
      first.diverged(Math.cos(i) + 2)
    }
    const { losses, means } = JSON.parse(JSON.stringify(first.state()))
    const second = new LossWatch(8, 10, losses, means)
    for (let i = 70; i < 150; i++) {
      whole.diverged(Math.cos(i) + 2)
      second.diverged(Math.cos(i) + 2)
    }
    expect(second.state()).toEqual(whole.state())
  })

  it('averages in ten bins of ln sigma, the outer ones open', () => {
    const bins = new SigmaBins(-1, 2)
    const sigmas = Float64Array.of(1e-9, Math.exp(-5.5), Math.exp(-0.5), Math.exp(-0.2), 1e9)
    bins.add(Float64Array.of(1, 3, 5, 8, 7), sigmas)
    expect(bins.take()).toEqual([2, null, null, null, null, 6.5, null, null, null, 7])
    expect(bins.take()).toEqual(Array(10).fill(null))
    expect(bins.describe(1e-9)).toMatch(/^sigma below 0.00674$/)
    expect(bins.describe(Math.exp(-0.5))).toBe('sigma from 0.368 to 1.00')
  })
})

describe('settings of a run', () => {
  it('rejects what is out of range', () => {
    for (const bad of [
      { lr: 0 },
      { decay: 1.5 },
      { batchSize: 1.5 },
      { seed: -1 },
      { labelDropout: 1.1 },
      { beta1: 1 },
      { clip: -1 },
    ])
      expect(() => checkSettings(bad)).toThrow(ArgumentError)
    expect(() => checkSettings({ flips: 'yes' } as never)).toThrow(/flips/)
    checkSettings(generalSettings)
  })

  it('takes what is given, then what is stored, then the default', () => {
    expect(settle({ b: 5 }, undefined, { a: 1, b: 2 })).toEqual({ a: 1, b: 5 })
    expect(settle<{ a: number; b: number }>({ b: 5 }, { a: 7, b: 5 }, { a: 1, b: 2 })).toEqual({ a: 7, b: 5 })
  })

  it('names every option that contradicts the checkpoint', () => {
    const stored = { lr: 1e-3, clip: 1, network: { width: [1, 2] } }
    const attempt = () => settle({ lr: 2e-3, clip: 1, network: { width: [1, 3] } }, stored, stored)
    expect(attempt).toThrow(ArgumentError)
    expect(attempt).toThrow(/lr .*0\.002.*0\.001.*network/)
    expect(attempt).not.toThrow(/clip/)
  })
})

describe('architecture from the data', () => {
  it('is a small U-Net for images, with as many levels as halve evenly', () => {
    const levels = (height: number, width: number) => {
      const { args } = networkFor([1, height, width], 0)
      return 'channel_mult' in args ? { mult: args.channel_mult, attention: args.attn_resolutions } : null
    }
    expect(levels(28, 28)).toEqual({ mult: [1, 2, 2], attention: [14] })
    expect(levels(64, 64)).toEqual({ mult: [1, 2, 2], attention: [16] })
    expect(levels(8, 8)).toEqual({ mult: [1, 2], attention: [8] })
    expect(levels(7, 9)).toEqual({ mult: [1], attention: [9] })
  })

  it('is a residual MLP for vectors', () => {
    expect(networkFor([2], 3, { width: 64, blocks: 2 })).toMatchObject({
      class: 'ResidualMLP',
      args: { dim: 2, hidden: 64, layers: 2, label_dim: 3 },
    })
  })

  it('rejects what does not fit', () => {
    expect(() => networkFor([2, 3], 0)).toThrow(ArgumentError)
    expect(() => networkFor([2], 0, { attention: [4] })).toThrow(/attention/)
    expect(() => networkFor([3, 32, 32], 0, { attention: [12] })).toThrow(/32, 16, 8/)
    expect(() => networkFor([3, 32, 32], 0, { depth: 3 } as never)).toThrow(/depth/)
  })
})
