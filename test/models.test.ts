import { expect, it } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { Denoiser } from '../lib/models/denoiser.js'
import type { Labels } from '../lib/models/labels.js'
import { run } from '../lib/native/addon.js'
import { givenNetworkConfig, residualMLP, songUNet } from '../lib/networks/config.js'

it.each(['dropout', 'label_dropout'])('a network with %s takes it from [0, 1)', (name) => {
  const config = (value: number) => songUNet([1, 8, 8], { [name]: value })
  for (const value of [0, 0.5]) expect(givenNetworkConfig(config(value))).toEqual(config(value))
  for (const value of [-0.1, 1, Number.NaN]) {
    expect(() => givenNetworkConfig(config(value))).toThrow(ArgumentError)
    expect(() => givenNetworkConfig(config(value))).toThrow(`'${name}'`)
  }
})

it('labels are vectors, class indices or names; others are typed errors', async () => {
  const labels = {
    attributes: [
      { name: 'shape', size: 2, values: ['ring', 'bar'] },
      { name: 'place', size: 3 },
    ],
  }
  const model = await Denoiser.create({ network: residualMLP(2, { hidden: 8, layers: 1, label_dim: 5 }), labels })
  // a new network's last layer is zero: random weights let the labels show
  const weights = Float32Array.from({ length: model.network.parameterCount() }, (_, i) => Math.sin(7 * i) / 2)
  await run(() => model.network.write('params', weights))
  await run(() => model.network.write('ema', weights))
  const denoise = (given?: Labels) => model.denoise(Float32Array.of(0.3, -1, 2, 0.1), 0.5, { labels: given })

  const expected = await denoise(Float32Array.of(0, 1, 1, 0, 0, 0, 1, 1, 0, 0))
  expect(await denoise()).not.toEqual(expected)
  const same: Labels[] = [Float32Array.of(0, 1, 1, 0, 0), [1, 0], { shape: 'bar', place: 0 }, { shape: 1, place: 0 }]
  for (const given of same) expect(await denoise(given)).toEqual(expected)
  expect(await denoise({ place: 2 })).toEqual(await denoise(Float32Array.of(0, 0, 0, 0, 1)))

  const wrong = [
    new Float64Array(5),
    new Float64Array(0),
    new Uint8Array(2),
    new Float32Array(0),
    new Float32Array(4),
    Float32Array.of(Number.NaN, 0, 0, 0, 0),
    [1],
    [2, 0],
    { size: 1 },
    { shape: 'star' },
    'bar',
    null,
  ]
  for (const given of wrong) await expect(denoise(given as Labels), String(given)).rejects.toThrow(ArgumentError)
  model.dispose()
})
