import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { uniformAt } from '../lib/base/random.js'
import { loadDataset } from '../lib/data/load.js'
import { planarSets } from '../lib/data/planar.js'
import { scoreShapes } from '../lib/data/shapes.js'

const planar = Object.keys(planarSets)

async function points(spec: string): Promise<[number, number][]> {
  const data = await loadDataset(spec)
  const out = new Float32Array(2)
  return Array.from({ length: data.size }, (_, i) => {
    data.read(i, out, 0)
    return [out[0], out[1]]
  })
}

const normal = (sample: number, i: number) =>
  Math.sqrt(-2 * Math.log(uniformAt(3, 11, 1, sample, 2 * i))) *
  Math.cos(2 * Math.PI * uniformAt(3, 11, 1, sample, 2 * i + 1))

describe('planar sets', () => {
  it('are the same for the same text and differ by seed', async () => {
    for (const name of planar) {
      const first = await points(`synthetic:${name}:count=50`)
      expect(await points(`synthetic:${name}:count=50`)).toEqual(first)
      expect((await points(`synthetic:${name}:count=60`)).slice(0, 50)).toEqual(first)
      expect(await points(`synthetic:${name}:count=50,seed=1`)).not.toEqual(first)
    }
  })

  it('have a standard deviation of about 0.5 and a mean near 0', async () => {
    for (const name of planar) {
      const all = (await points(`synthetic:${name}:count=4000`)).flat()
      const mean = all.reduce((a, b) => a + b, 0) / all.length
      const std = Math.sqrt(all.reduce((sum, v) => sum + (v - mean) ** 2, 0) / all.length)
      expect(Math.abs(mean)).toBeLessThan(0.15)
      expect(std).toBeGreaterThan(0.4)
      expect(std).toBeLessThan(0.6)
    }
  })

  it('follow their densities: counts in cells against the integral', async () => {
    const cells = 12
    const side = 2.4 / cells
    for (const name of planar) {
      const { density, parameters } = planarSets[name]
      if (!density) continue
      const count = 8000
      const counts = new Float64Array(cells * cells)
      const cell = (v: number) => Math.floor((v + 1.2) / side)
      for (const [x, y] of await points(`synthetic:${name}:count=${count}`)) counts[cell(y) * cells + cell(x)]++
      const fine = 40
      let total = 0
      for (let c = 0; c < cells * cells; c++) {
        let mass = 0
        for (let i = 0; i < fine * fine; i++) {
          const x = -1.2 + side * ((c % cells) + ((i % fine) + 0.5) / fine)
          const y = -1.2 + side * (Math.floor(c / cells) + (Math.floor(i / fine) + 0.5) / fine)
          mass += density(x, y, parameters) * (side / fine) ** 2
        }
        total += mass
        // five standard deviations and the quadrature's error at the sets' hard edges
        const bound = 5 * Math.sqrt(count * mass) + 0.05 * count * mass + 2
        expect(Math.abs(counts[c] - count * mass), `${name}, cell ${c}`).toBeLessThan(bound)
      }
      expect(total).toBeGreaterThan(0.98)
      expect(total).toBeLessThan(1.02)
    }
  })

  it('take parameters', async () => {
    const bar = await points('synthetic:bar:count=500,centre=-2,width=0.1,height=0.5')
    for (const [x, y] of bar) expect(Math.abs(x + 2) < 0.1 + 1e-6 && Math.abs(y) < 0.5).toBe(true)
    const board = await points('synthetic:checkerboard:count=500,cells=3,half=1.5')
    for (const [x, y] of board) expect((Math.floor(x + 1.5) + Math.floor(y + 1.5)) % 2).toBe(0)
    expect(new Set(board.map(([x, y]) => 3 * Math.floor(y + 1.5) + Math.floor(x + 1.5))).size).toBe(5)
  })

  it('reject what is not known', async () => {
    const wrong = ['', 'torus', 'ring:', 'ring:count', 'ring:count=', 'ring:count=0', 'ring:count=1.5', 'ring:std=-1']
    wrong.push(
      'ring:side=3',
      'ring:count=1e99',
      'ring:a=b:c',
      'shapes:size=7',
      'shapes:size=x',
      'constructor',
      'ring:__proto__=1',
    )
    for (const name of wrong) await expect(loadDataset(`synthetic:${name}`)).rejects.toThrow(ArgumentError)
  })
})

describe('shapes', () => {
  it('hold every combination of independent attributes', async () => {
    const data = await loadDataset('synthetic:shapes:count=2400')
    expect([data.shape, data.size]).toEqual([[1, 16, 16], 2400])
    const counts = new Float64Array(12)
    for (let i = 0; i < data.size; i++) counts[data.label(i)[0]! * 4 + data.label(i)[1]!]++
    for (const count of counts) expect(Math.abs(count - 200)).toBeLessThan(5 * Math.sqrt(200))
  })

  it('can be made to depend on each other, with every combination left', async () => {
    const data = await loadDataset('synthetic:shapes:count=2400,correlation=0.8')
    const counts = new Float64Array(12)
    for (let i = 0; i < data.size; i++) counts[data.label(i)[0]! * 4 + data.label(i)[1]!]++
    expect(Math.min(...counts)).toBeGreaterThan(10)
    for (const shape of [0, 1, 2]) expect(counts[shape * 4 + shape] / 800).toBeGreaterThan(0.75)
  })

  it('are scored right at every size, clean, dimmed and with noise of standard deviation 0.3', async () => {
    for (const size of [12, 16, 24]) {
      const data = await loadDataset(`synthetic:shapes:count=60,size=${size}`)
      const image = new Float32Array(size * size)
      for (const [gain, noise] of [
        [1, 0],
        [0.5, 0],
        [1, 0.3],
      ]) {
        let right = 0
        for (let i = 0; i < data.size; i++) {
          data.read(i, image, 0)
          for (let at = 0; at < image.length; at++) image[at] = gain * image[at] + noise * normal(i, at)
          const { shape, place } = scoreShapes(image, data.shape)
          if (shape === data.label(i)[0] && place === data.label(i)[1]) right++
        }
        expect(right / data.size, `size ${size}, noise ${noise}`).toBeGreaterThanOrEqual(noise === 0 ? 1 : 0.95)
      }
    }
  })

  it('are not seen in empty images, noise or blends of one shape at two places', async () => {
    const nothing = { shape: null, place: null }
    expect(scoreShapes(new Float32Array(256).fill(-1), [1, 16, 16])).toMatchObject(nothing)
    expect(
      scoreShapes(
        new Float32Array(256).map((_, i) => normal(1, i)),
        [1, 16, 16],
      ),
    ).toMatchObject(nothing)
    const data = await loadDataset('synthetic:shapes:count=200')
    const images = Array.from({ length: 200 }, (_, i) => {
      const image = new Float32Array(256)
      data.read(i, image, 0)
      return image
    })
    for (let i = 1; i < 200; i++) {
      if (data.label(i)[1] === data.label(0)[1] || data.label(i)[0] !== data.label(0)[0]) continue
      const blend = images[0].map((v, at) => 0.5 * (v + images[i][at]))
      expect(scoreShapes(blend, [1, 16, 16])).toMatchObject(nothing)
    }
    expect(scoreShapes(new Float32Array(256).fill(NaN), [1, 16, 16])).toMatchObject(nothing)
  })

  it('reject images of another shape', () => {
    expect(() => scoreShapes(new Float32Array(255), [1, 16, 16])).toThrow(ArgumentError)
    expect(() => scoreShapes(new Float32Array(768), [3, 16, 16])).toThrow(ArgumentError)
  })
})
