// A reward from a classifier in an ONNX file: samples of an energy that it takes for one class. npm install onnxruntime-node
// node examples/onnx-reward classifier.onnx [class]: its input [n, 2] float32, its output the logits [n, classes]

import { gaussianMixture, rewardTilt, sigmaGrid, smc } from 'feynkac'
import ort from 'onnxruntime-node'

const [file, wanted = '1'] = process.argv.slice(2)
const session = await ort.InferenceSession.create(file)
const [input, output] = [session.inputNames[0], session.outputNames[0]]
const energy = gaussianMixture({
  weights: [1, 1],
  means: [
    [-1, 0],
    [1, 0],
  ],
  covariances: [0.1, 0.1],
}) // or EnergyModel.load(...)

/** log p(class | x): values alone; a gradient would make the steps better, and smc needs none. */
async function classified(points, count) {
  const { [output]: logits } = await session.run({ [input]: new ort.Tensor('float32', points, [count, 2]) })
  const classes = logits.dims.at(-1)
  return Float64Array.from({ length: count }, (_, i) => {
    const row = logits.data.slice(i * classes, (i + 1) * classes)
    const most = Math.max(...row)
    return row[Number(wanted)] - most - Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0))
  })
}

const target = rewardTilt(energy, classified, { strength: 1 })
const result = await smc(target, { particles: 500, sigmas: sigmaGrid({ steps: 48, min: 0.02, max: 10 }) })
console.log(JSON.stringify({ mean: [...result.mean()], ess: result.ess.at(-1) }))
