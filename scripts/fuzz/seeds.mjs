import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { writeSafetensors } from '../../dist/weights/safetensors.js'
import { root } from '../native.mjs'
import { damage } from './bytes.mjs'
import { damageArchive, damageJson, damageSafetensors } from './containers.mjs'
import { damageLegacy, damagePickle } from './pickles.mjs'

/**
 * Valid inputs of every format: files by their names, which of them is read ('' for the folder), and how each kind is damaged.
 */

const vector = (name) => fs.readFileSync(path.join(root, 'test/vectors', name))
const json = (value) => Buffer.from(JSON.stringify(value))

async function safetensors(names) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-seed-'))
  const file = path.join(folder, 'a')
  const tensors = names.map((name, i) => [name, { shape: [i + 1, 2], data: new Float32Array(2 * i + 2).fill(i) }])
  await writeSafetensors(file, tensors, { format: 'pt', note: 'x' })
  const bytes = fs.readFileSync(file)
  fs.rmSync(folder, { recursive: true })
  return bytes
}

export async function makeSeeds() {
  const one = await safetensors(['conv_in.weight', 'conv_in.bias', 'mid.norm.weight'])
  const two = await safetensors(['conv_out.weight'])
  const config = json({ _class_name: 'UNet2DModel', sample_size: 8, block_out_channels: [32, 64], act_fn: 'silu' })
  const index = json({
    metadata: { total_size: 40 },
    weight_map: {
      'conv_in.weight': 'a.safetensors',
      'conv_in.bias': 'a.safetensors',
      'mid.norm.weight': 'a.safetensors',
      'conv_out.weight': 'sub/b.safetensors',
    },
  })
  const file = (name, how) => ({ name, files: { [name]: vector(name) }, entry: name, how: () => how })
  const byName = (name) => (name.endsWith('.json') ? damageJson : damageSafetensors)
  return [
    file('kinds.pt', damageArchive),
    file('training.pt', damageArchive),
    file('edm-state.pt', damageArchive),
    file('kinds-legacy.pt', damageLegacy),
    file('edm-state-legacy.pt', damageLegacy),
    file('edm-protocol2.pkl', damagePickle),
    file('edm-protocol4.pkl', damagePickle),
    file('edm-protocol5.pkl', damagePickle),
    file('module.pkl', damagePickle),
    file('values-protocol0.pkl', damagePickle),
    { name: 'safetensors', files: { 'a.safetensors': one }, entry: 'a.safetensors', how: byName },
    {
      name: 'sharded',
      files: { 'index.json': index, 'a.safetensors': one, 'sub/b.safetensors': two },
      entry: 'index.json',
      how: byName,
    },
    {
      name: 'diffusers',
      files: {
        'model_index.json': json({
          _class_name: 'DDPMPipeline',
          scheduler: ['diffusers', 'x'],
          unet: ['diffusers', 'UNet2DModel'],
        }),
        'unet/config.json': config,
        'unet/diffusion_pytorch_model.safetensors': one,
        'scheduler/scheduler_config.json': json({ _class_name: 'DDPMScheduler', betas: [0.1, 0.2] }),
      },
      entry: '',
      how: byName,
    },
  ]
}

/** Input `number` of a seed: one of the files of a valid input, damaged once or twice. */
export function makeInput(seeds, r) {
  const { name, files, entry, how } = r.pick(seeds)
  const target = r.pick(Object.keys(files))
  const other = r.pick(Object.values(r.pick(seeds).files))
  const first = how(target)
  let bytes = first(files[target], r, other)
  // a second time where the format still is to be seen; fflate may not end with a damaged archive
  if (r.below(4) === 0 && bytes.length > 0) {
    try {
      bytes = (first === damageArchive ? damage : first)(bytes, r, other)
    } catch {
      // no container any more
    }
  }
  return { name, files: { ...files, [target]: bytes }, entry, target }
}
