// Ways to take an attribute's fourth value off learnt pictures, without weights (docs/right-weights.md#not). The models are those of
//
//   feynkac experiment consistency --data FILE --size N --budget medium --models DIR
//
// which trains what is not there; then
//
//   node packages/lab/studies/not.mjs --data FILE --size N --models DIR --out DIR [--energies denoiser,dot]
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { EnergyModel, guided, negation, setThreads, sigmaGrid, smc } from '../../../dist/index.js'
import { imagesClassifier, imagesEnergy, imagesTeacher, spaceOf } from '../dist/experiments/consistency-models.js'
import { readerOf } from '../dist/experiments/consistency-reader.js'
import { scored } from '../dist/experiments/consistency-subjects.js'
import { ownImages } from '../dist/experiments/own-images.js'
import { rowsPng } from '../dist/experiments/pictures.js'

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    size: { type: 'string' },
    models: { type: 'string' },
    out: { type: 'string' },
    energies: { type: 'string', default: 'denoiser,dot' },
  },
})
const [PARTICLES, SHOWN, VALUE] = [40, 16, 3]
const sigmas = sigmaGrid({ steps: 32, min: 0.02, max: 40 })

setThreads(1)
mkdirSync(values.out, { recursive: true })
const context = { budget: 'medium', seed: 0, device: 'cpu', models: values.models, stage() {} }
const own = await ownImages({ data: values.data, size: Number(values.size) }, context, 1)
const reader = await readerOf(own, await imagesClassifier(own, context))
const space = await spaceOf(own, context)
const { model: teacher } = await imagesTeacher(own, space, context)
for (const name of values.energies.split(',')) {
  const model = name === 'denoiser' ? teacher : (await imagesEnergy(name, teacher, own, space, context)).model
  const others = own.labels.attributes.slice(1).map(() => null)
  const under = (value) => {
    const energy = model.conditioned([value, ...others])
    return model instanceof EnergyModel ? energy : scored(energy)
  }
  const [p, q] = [under(null), under(VALUE)]
  const ways = {
    'p / q^.5': negation(p, q, { strength: 0.5 }),
    'floor 0.5': negation(p, q, { strength: 0.5, floor: 0.5 }),
    'floor 2': negation(p, q, { strength: 0.5, floor: 2 }),
    'p (p / q)': guided(p, q, { scale: -1 }),
    'p (p / q)^.5': guided(p, q, { scale: -0.5 }),
    p,
  }
  const rows = []
  for (const [way, target] of Object.entries(ways)) {
    const { samples } = await smc(target, { particles: PARTICLES, sigmas, weights: 'none', finalResample: false })
    const pictures = await space.decode(samples)
    const found = await reader.measure(pictures, { asked: [0], right: ([seen]) => seen !== VALUE })
    console.log(name, way, JSON.stringify(found))
    rows.push(pictures.slice(0, (SHOWN * pictures.length) / PARTICLES))
  }
  writeFileSync(join(values.out, `not-${name}.png`), await rowsPng(rows, own.shape))
}
