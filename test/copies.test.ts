import { describe, expect, it } from 'vitest'
import { findCopies } from '../lib/metrics/copies.js'
import { pixelFeatures } from '../lib/metrics/features.js'
import { gaussianPoints } from './training-data.js'

/** The first n of 400 points of a Gaussian in the plane, and the rest. */
const all = gaussianPoints(400)
const rows = (from: number, to: number, noise = 0) => {
  const x = new Float32Array(2 * (to - from))
  for (let i = from; i < to; i++) all.read(i, x, 2 * (i - from))
  return x.map((value, k) => value + noise * Math.sin(97 * k))
}
const training = { ...all, size: 200, read: all.read.bind(all), label: all.label.bind(all), shape: [2], labels: null, name: 'points' } // biome-ignore format: one line
const extractor = pixelFeatures([2])
const found = (samples: Float32Array, heldOut: Float32Array | null) =>
  findCopies({ samples, heldOut, training, extractor })

describe('copies', () => {
  it('are samples much nearer to training samples than held-out ones are', async () => {
    const copied = await found(rows(0, 60, 1e-3), rows(200, 300))
    expect(copied).toMatchObject({ copies: true, samples: 60, reference: 100, heldOut: true })
    expect(copied.sampleShare).toBeGreaterThan(0.9)
    expect(copied.text).toMatch(/^samples are copies of training pictures: \d+ % of 60 samples/)
    const half = new Float32Array([...rows(0, 30, 1e-3), ...rows(300, 330)])
    expect((await found(half, rows(200, 300))).copies).toBe(true)
  })

  it('are not samples of the same law, nor blurred ones', async () => {
    const own = await found(rows(300, 400), rows(200, 300))
    expect(own).toMatchObject({ copies: false })
    expect(own.text).toMatch(/^no sign of copies/)
    expect(Math.abs(own.sampleShare - own.referenceShare)).toBeLessThan(0.1)
    expect((await found(rows(300, 400, 0.5), rows(200, 300))).copies).toBe(false)
  })

  it('without samples held out are told by the distances of training samples to each other', async () => {
    expect(await found(rows(0, 60, 1e-3), null)).toMatchObject({ copies: true, heldOut: false, reference: 200 })
    expect((await found(rows(300, 400), null)).copies).toBe(false)
  })
})
