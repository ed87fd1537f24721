import { setTimeout as sleep } from 'node:timers/promises'
import { EnergyModel, songUNet } from '../../dist/index.js'

/** What stays of many models after they were disposed of: `node --expose-gc scripts/torture/models-in-memory.mjs`. Right: below 100 MB. */

const MODELS = 60
const network = songUNet([3, 16, 16], { model_channels: 32, channel_mult: [1, 2], num_blocks: 1 })
const x = new Float32Array(3 * 16 * 16).fill(0.1)
const one = async () => {
  const model = await EnergyModel.create({ network, kind: 'dot' }, { seed: 1, device: 'cpu' })
  await model.energyGrad(x, 1)
  return model
}
const parameters = (await one()).network.parameterCount()
const settled = async () => {
  globalThis.gc?.()
  await sleep(100)
  return process.memoryUsage().rss / 1e6
}
const before = await settled()
const models = []
for (let i = 0; i < MODELS; i++) models.push(await one())
const held = await settled()
for (const model of models) model.dispose()
models.length = 0
const after = await settled()
const each = ((held - before) / MODELS).toFixed(1)
console.log(`${MODELS} models of ${((4 * parameters) / 1e6).toFixed(1)} MB: ${each} MB each; ${(after - before).toFixed(1)} MB stay after dispose`) // biome-ignore format: one line
process.exitCode = after - before < 100 ? 0 : 1
