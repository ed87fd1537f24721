import fs from 'node:fs'
import path from 'node:path'
import { createNetwork } from '../../dist/models/model-file.js'
import { native } from '../../dist/native/addon.js'
import { songUNet } from '../../dist/networks/config.js'
import { edmPreconditioning } from '../../dist/networks/preconditioning.js'

/** Input sets take turns, so that none is in a cache. */
const SETS = 4

const USER_STREAM = 11 // native/kernels/common/random.h

function normals(count, seed, stream) {
  const values = new Float32Array(count)
  native.normals(values, 1, seed, USER_STREAM, stream)
  return values
}

/** Weights that leave no layer near zero, as a trained network has them. */
function weights(parameters, seed) {
  const last = parameters.at(-1)
  const flat = normals(last.offset + last.size, seed, 1)
  for (const p of parameters) {
    const fanIn = p.shape.length > 1 ? p.size / p.shape[0] : 100
    const mean = /norm\d?\.weight$/.test(p.name) ? 1 : 0
    for (let i = p.offset; i < p.offset + p.size; i++) flat[i] = mean + flat[i] / Math.sqrt(fanIn)
  }
  return flat
}

/** Files that every side reads, of one network and batches up to a size: what a job names them by. */
export function writeInputs(folder, name, network, largestBatch) {
  const write = (what, content) => {
    const file = path.join(folder, `${name}-${what}`)
    fs.writeFileSync(file, content)
    return file
  }
  const { resolution, channels, width, mult, blocks, attention } = network
  const config = songUNet([channels, resolution, resolution], {
    dropout: 0,
    model_channels: width,
    channel_mult: mult,
    num_blocks: blocks,
    attn_resolutions: attention,
  })
  const engine = createNetwork({ network: config, preconditioning: edmPreconditioning() }, { device: 'cpu' })
  const parameters = engine.parameters()
  engine.dispose()
  // noise levels over a wide range in every batch, however small
  const sigma = Float32Array.from({ length: largestBatch }, (_, i) => 0.05 * 200 ** ((i * 0.618034) % 1))
  return {
    parameters: write('parameters.json', JSON.stringify(parameters)),
    weights: write('weights', weights(parameters, 1)),
    teacher: write('teacher', weights(parameters, 2)),
    x: write('x', normals(SETS * largestBatch * channels * resolution ** 2, 3, 1)),
    sigma: write('sigma', sigma),
    sets: SETS,
  }
}
