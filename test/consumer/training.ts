// As targets.ts: training, data and metrics.
import {
  type AutoencoderOptions,
  type ClassifierOptions,
  type DistillOptions,
  distill,
  type EvaluationResult,
  evaluate,
  FeynkacError,
  latentDataset,
  loadDataset,
  onnxFeatures,
  songUNet,
  type TrainingProgress,
  trainAutoencoder,
  trainClassifier,
  trainDenoiser,
  trainEnergy,
} from 'feynkac'

export const data = await loadDataset('synthetic:shapes', { resize: [16, 16], channels: 1, limit: 100 })
export const onProgress = ({ loss, heldOutLoss }: TrainingProgress): void => console.log(loss, heldOutLoss ?? '')
export const { model: teacher } = await trainDenoiser({
  data,
  images: 1000,
  network: songUNet(data.shape, { model_channels: 16 }),
  output: 'runs/teacher',
  resume: 'auto',
  onProgress,
})
export const options: DistillOptions = { teacher, data, minutes: 1, head: 'dot', calibrate: false }
export const { model: energy } = await distill(options)
export const { model: joint } = await trainEnergy({ data, images: 1000, head: 'joint', network: { width: 16 } })
joint.withGradient('energy').dispose()
const ae: AutoencoderOptions = { data, images: 1000 }
export const { model: autoencoder } = await trainAutoencoder(ae)
export const latents = await latentDataset(data, autoencoder)
const cl: ClassifierOptions = { data, images: 1000, noise: 0.1 }
export const { model: classifier } = await trainClassifier(cl)
export const features = await onnxFeatures('inception.onnx', { shape: data.shape, range: [0, 255] })
export async function compare(): Promise<EvaluationResult | string> {
  try {
    return await evaluate({ samples: data, data: 'synthetic:shapes', features, metrics: ['frechet'] })
  } catch (error) {
    if (error instanceof FeynkacError) return error.code
    throw error
  }
}
