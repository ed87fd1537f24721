import { isDeepStrictEqual } from 'node:util'
import * as feynkac from '../../dist/index.js'

/** Calls of models in which an allocation fails, and which are then made again: with the same model, and the right answer. */

const { Autoencoder, Classifier, Denoiser, EnergyModel } = feynkac
const x = Float32Array.from({ length: 2 * 64 }, (_, i) => Math.sin(i * i))
const unet = feynkac.songUNet([1, 8, 8], { model_channels: 8, channel_mult: [1, 2], num_blocks: 1 })
const coder = feynkac.autoencoderKL([1, 8, 8], { block_out_channels: [4], norm_num_groups: 1, latent_channels: 1 })
const args = { in_channels: 1, block_out_channels: [4], layers_per_block: 1, norm_num_groups: 1, classes: [2] }
const seed = { seed: 1, device: 'cpu' }
const mixture = feynkac.gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] }) // biome-ignore format: one line
const nothing = { dispose() {} }

/** For each: a model, new, and a call. */
const calls = {
  denoise: [() => Denoiser.create({ network: unet }, seed), (model) => model.denoise(x, 1)],
  energyGrad: [() => EnergyModel.create({ network: unet, kind: 'dot' }, seed), (model) => model.energyGrad(x, 1)],
  encode: [() => Autoencoder.create({ network: coder }, seed), (model) => model.encode(x)],
  classify: [
    () => Classifier.create({ network: { class: 'ConvClassifier', shape: [1, 8, 8], args }, labels: { attributes: [{ name: 'class', size: 2 }] } }, seed), // biome-ignore format: one line
    (model) => model.classify(x),
  ],
  mixture: [() => nothing, () => mixture.energyGrad(x, 1)],
  smc: [
    () => nothing,
    () => feynkac.smc(feynkac.product([mixture, mixture]), { particles: 16, sigmas: [2, 1, 0.5], seed: 1, moves: {} }).then(({ samples }) => samples), // biome-ignore format: one line
  ],
}

/** The number of calls that went wrong. `memory`: faulty-memory.mjs; `most` faults in each. */
export async function retries(memory, most, offset) {
  let bad = 0
  for (const [name, [create, call]] of Object.entries(calls)) {
    const attempt = async (k) => {
      const model = await create()
      memory.arm({ failing: k })
      const first = await call(model).catch((error) => error)
      const { count } = memory.disarm()
      const second = k > 0 ? await call(model).catch((error) => error) : first
      model.dispose()
      return { first, second, count }
    }
    await attempt(0) // what is allocated once for ever
    const { first: right, count } = await attempt(0)
    if (right instanceof Error) throw right
    const stride = Math.ceil(count / most)
    let faults = 0
    for (let k = 1 + (offset % stride); k <= count; k += stride) {
      const { first, second } = await attempt(k)
      faults++
      const refused = first instanceof feynkac.OutOfMemoryError
      if ((refused || isDeepStrictEqual(first, right)) && isDeepStrictEqual(second, right)) continue
      bad++
      console.log(
        `${name}, fault ${k} of ${count}: ${refused ? 'refused' : (first.stack ?? 'another answer')}; then ${second.stack ?? 'another answer'}`,
      )
    }
    console.log(`${name.padEnd(10)} ${count} places, ${faults} faults, and each call again`)
  }
  return bad
}
