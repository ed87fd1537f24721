import { describe, expect, it } from 'vitest'
import { batchIndices, dropLabels, flipped, mirror, permutation } from '../lib/base/order.js'
import { philox4x32, uniformAt } from '../lib/base/random.js'
import { sizeOf } from '../lib/base/shape.js'
import type { Dataset } from '../lib/data/dataset.js'
import { type Communicator, loadDataset } from '../lib/index.js'
import { Batches } from '../lib/training/batches.js'
import { NoisyStates } from '../lib/training/noisy-states.js'
import { ownRows } from '../lib/training/together.js'

describe('philox', () => {
  it('gives the known answers of Random123', () => {
    const hex = (words: number[]) => words.map((word) => word.toString(16).padStart(8, '0')).join(' ')
    expect(hex(philox4x32([0, 0, 0, 0], [0, 0]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8')
    const ones = 0xffffffff
    expect(hex(philox4x32([ones, ones, ones, ones], [ones, ones]))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd')
    const pi = philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])
    expect(hex(pi)).toBe('d16cfe09 94fdcceb 5001e420 24126ea1')
  })

  it('gives uniform numbers: ten bins within five standard deviations', () => {
    const n = 20000
    const bins = new Float64Array(10)
    for (let i = 0; i < n; i++) bins[Math.floor(uniformAt(7, 11, 3, i, i % 4) * 10)]! += 1
    for (const count of bins) expect(Math.abs(count - n / 10)).toBeLessThan(5 * Math.sqrt(n * 0.09))
  })
})

describe('order of the data', () => {
  it('is a permutation for every size', () => {
    for (const n of [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4097]) {
      const order = permutation(5, 2, n)
      const seen = new Set(Array.from({ length: n }, (_, i) => order(i)))
      expect(seen.size).toBe(n)
      expect(Math.max(...seen)).toBe(n - 1)
    }
  })

  it('puts every sample at every place equally often', () => {
    const n = 7
    const epochs = 7000
    const counts = new Float64Array(n * n)
    for (let epoch = 0; epoch < epochs; epoch++) {
      const order = permutation(1, epoch, n)
      for (let i = 0; i < n; i++) counts[i * n + order(i)]! += 1
    }
    const sigma = Math.sqrt((epochs / n) * (1 - 1 / n))
    for (const count of counts) expect(Math.abs(count - epochs / n)).toBeLessThan(5 * sigma)
  })

  it('visits all samples once per epoch, across the borders of batches', () => {
    const n = 10
    const batch = 4
    const drawn: number[] = []
    for (let step = 1; step <= 5; step++) drawn.push(...batchIndices(3, step, batch, n))
    expect([...drawn.slice(0, n)].sort((a, b) => a - b)).toEqual([...Array(n).keys()])
    expect([...drawn.slice(n)].sort((a, b) => a - b)).toEqual([...Array(n).keys()])
    expect(drawn.slice(0, n)).not.toEqual(drawn.slice(n))
  })

  it('is a function of the seed and the step alone', () => {
    expect(batchIndices(3, 9, 6, 50)).toEqual(batchIndices(3, 9, 6, 50))
    expect(batchIndices(3, 9, 6, 50)).not.toEqual(batchIndices(4, 9, 6, 50))
  })

  it('flips half of the samples, and a mirror twice is nothing', () => {
    let flips = 0
    for (let row = 0; row < 4000; row++) if (flipped(1, 2, row)) flips++
    expect(Math.abs(flips - 2000)).toBeLessThan(5 * Math.sqrt(1000))
    const image = Float32Array.of(1, 2, 3, 4, 5, 6)
    mirror(image, 3)
    expect([...image]).toEqual([3, 2, 1, 6, 5, 4])
    mirror(image, 3)
    expect([...image]).toEqual([1, 2, 3, 4, 5, 6])
  })

  it('drops each block of labels on its own', () => {
    const joint = { both: 0, first: 0, second: 0, none: 0 }
    const rows = 4000
    for (let row = 0; row < rows; row++) {
      const label = Float32Array.of(0, 1, 1, 0, 0)
      dropLabels(label, [2, 3], 0.3, 8, 1, row)
      joint[label[1] ? (label[2] ? 'both' : 'first') : label[2] ? 'second' : 'none']++
    }
    const close = (count: number, p: number) =>
      expect(Math.abs(count - rows * p)).toBeLessThan(5 * Math.sqrt(rows * p * (1 - p)))
    close(joint.both, 0.49)
    close(joint.first, 0.21)
    close(joint.second, 0.21)
    close(joint.none, 0.09)
  })
})

describe('a rank’s part of the batch', () => {
  const settings = { seed: 3, batchSize: 13, microBatch: 3, flips: true, labelDropout: 0.4 }
  const ranksOf = (size: number) => Array.from({ length: size }, (_, rank) => ({ rank, size }) as Communicator)

  it('is rows of its micro-batches, of which each rank has others', () => {
    for (const size of [1, 2, 3, 5]) {
      const parts = ranksOf(size).map((ranks) => ownRows(settings, [settings.batchSize], ranks))
      expect(parts.flat().map(({ first }) => first)).toEqual([0, ...parts.flat().map(({ last }) => last)].slice(0, -1))
      expect(parts.at(-1)!.at(-1)!.last).toBe(settings.batchSize)
    }
    // rows 0..2 walk besides: one of five micro-batches' worth for the second rank
    expect(ownRows(settings, [13, 0, 4], ranksOf(2)[1]!)).toEqual([{ first: 1, last: 4 }, { first: 5, last: 13 }]) // biome-ignore format: one line
  })

  it('is read alone, and has the bits of the whole', async () => {
    const data = await loadDataset('synthetic:shapes:count=30,size=8,seed=1')
    const size = sizeOf(data.shape)
    const read: number[] = []
    const { name, shape, labels } = data
    const counted: Dataset = {
      ...{ name, shape, labels, size: data.size },
      label: (index) => data.label(index),
      read: (index, out, at) => {
        read.push(at / size)
        data.read(index, out, at)
      },
    }
    const general = { pMean: -1, pStd: 1, sharpened: 0.5, ...settings }
    const range = { sigmaMin: 0.01, sigmaMax: 80 }
    for (const references of [0, 8, 30]) {
      const batches = (from: Dataset) => {
        const noisy = new NoisyStates(data, data.labels, { ...general, references }, range)
        return new Batches(from, data.labels, settings, null, noisy)
      }
      const whole = await batches(data).prepare(2)
      for (const ranks of ranksOf(3)) {
        const own = ownRows(settings, [settings.batchSize, 5], ranks)
        read.length = 0
        const part = await batches(counted).prepare(2, own)
        expect(read).toEqual(
          own.flatMap(({ first, last }) => Array.from({ length: last - first }, (_, i) => first + i)),
        )
        expect([part.labels, part.states]).toEqual([whole.labels, whole.states])
        for (const { first, last } of own)
          for (const name of ['x0', 'targets'] as const)
            expect(part[name]?.subarray(first * size, last * size)).toEqual(
              whole[name]?.subarray(first * size, last * size),
            )
      }
    }
  })
})
