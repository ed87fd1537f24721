/**
 * feynkac: pretrained diffusion models as energies, and Feynman–Kac sampling from them under control.
 * Thornton et al., "Composition and Control with Distilled Energy Diffusion Models and Sequential Monte Carlo", AISTATS 2025.
 */

export {
  ArgumentError,
  BusyError,
  DeadlineError,
  DeviceError,
  FeynkacError,
  FileError,
  FormatError,
  MissingPackageError,
  NumericsError,
  OutOfMemoryError,
} from './base/errors.js'
export type { Stream } from './base/stream.js'
export { type Attribute, type Dataset, type Decoder, encodeLabel, type LabelSpec, labelDim } from './data/dataset.js'
export type { NpyArray } from './data/npy.js'
export { npyBytes } from './data/npy-write.js'
export type { LoadDatasetOptions } from './data/options.js'
export type { GridOptions, ScatterOptions } from './data/picture-options.js'
export { type ShapeScore, scoreShapes } from './data/shapes.js'
export type { AttributeFindings, Findings } from './fit/findings.js'
export type { Shown } from './fit/judge.js'
export type { FitOptions } from './fit/options.js'
export type { FitProgress, FitResult, Learnt } from './fit/result.js'
export {
  checkEnergy,
  communicator,
  createEngine,
  distill,
  evaluate,
  fit,
  gridPng,
  loadDataset,
  loadResult,
  readNpy,
  scatterPng,
  serve,
  share,
  type TrainingStream,
  trainAutoencoder,
  trainClassifier,
  trainDenoiser,
  trainEnergy,
  verifyFixture,
  writeNpy,
} from './late.js'
export type { AttributeShares } from './metrics/attributes.js'
export type { CopiesResult } from './metrics/copies.js'
export type {
  EvaluationResult,
  MetricName,
  MetricValues,
} from './metrics/evaluate.js'
export type { FeatureExtractor } from './metrics/extractor.js'
export { openFeatures, pixelFeatures } from './metrics/features.js'
export { type FrechetOptions, frechetDistance } from './metrics/frechet.js'
export { type KernelDistance, type KernelDistanceOptions, kernelDistance } from './metrics/kernel.js'
export {
  type DensityCoverage,
  densityCoverage,
  type ManifoldOptions,
  type PrecisionRecall,
  precisionRecall,
} from './metrics/manifolds.js'
export { type Mmd, type MmdOptions, mmd } from './metrics/mmd.js'
export { FeatureMoments } from './metrics/moments.js'
export {
  type OnnxFeatureOptions,
  type OnnxRuntime,
  type OnnxSession,
  type OnnxTensor,
  onnxFeatures,
} from './metrics/onnx.js'
export type { EvaluateOptions, EvaluationProgress } from './metrics/options.js'
export { type SlicedWassersteinOptions, slicedWasserstein } from './metrics/sliced-wasserstein.js'
export {
  Autoencoder,
  type AutoencoderInfo,
  autoencoderKL,
  type Call as AutoencoderCallOptions,
} from './models/autoencoder.js'
export type { CallOptions } from './models/batches.js'
export {
  type Accuracy,
  type Call as ClassifierCallOptions,
  type Classes,
  Classifier,
  type ClassifierInfo,
} from './models/classifier.js'
export { type ConservativityOptions, conservativity } from './models/conservativity.js'
export { Denoiser } from './models/denoiser.js'
export { type EnergyGradient, type EnergyLoadOptions, EnergyModel } from './models/energy.js'
export { type ConditionalDenoiser, type GuidanceOptions, guidedDenoiser } from './models/guidance.js'
export type { ImportOptions } from './models/import.js'
export type { ModelInfo } from './models/info.js'
export type { Labels, Part } from './models/labels.js'
export { type LatentOptions, latentDataset } from './models/latents.js'
export type { LoadOptions } from './models/load.js'
export type { LogNormaliser } from './models/log-normaliser.js'
export type { ModelCalibrateOptions } from './models/measured-tables.js'
export type { NewModel } from './models/new-model.js'
export type { StoredTable, StoredTables } from './models/tables.js'
export type { TrainingRecord } from './models/training-record.js'
export { type DeviceInfo, type DeviceOptions, devices, type Precision, setThreads } from './native/devices.js'
export type { Space } from './native/space.js'
export type {
  Bytes,
  DeviceArray,
  Doubles,
  ElementType,
  Floats,
  Ints,
  NativeJob,
  NetworkKind,
  Values,
} from './native/types.js'
export type { AutoencoderConfig, AutoencoderKLArgs } from './networks/autoencoder.js'
export type { ImageShape } from './networks/check.js'
export type { ClassifierArgs, ClassifierConfig } from './networks/classifier.js'
export {
  dhariwalUNet,
  type NetworkConfig,
  type ResidualMLPArgs,
  residualMLP,
  songUNet,
  unet2d,
} from './networks/config.js'
export type { UNet2DModelArgs } from './networks/diffusers.js'
export type { DhariwalUNetArgs, SongUNetArgs } from './networks/edm.js'
export type { Head } from './networks/energy-heads.js'
export type { NoiseConditioning } from './networks/noise-conditioning.js'
export {
  type Preconditioning,
  type PreconditioningFactors,
  type PreconditioningForm,
  preconditioningAt,
} from './networks/preconditioning.js'
export type { Communicator, Numbers } from './ranks/communicator.js'
export type {
  Engine,
  EngineHealth,
  EngineModel,
  EngineOptions,
  Logger,
  ServeOptions,
} from './service/engine.js'
export type { HttpOptions, HttpServer } from './service/options.js'
export type { RequestLevel, RequestResult } from './service/request.js'
export type { SampleRequest, TermRequest } from './service/request-options.js'
export { type AdaptedSigmas, adaptSigmas } from './smc/adapt.js'
export type { AdaptSigmasOptions } from './smc/adapt-options.js'
export type { CheckEnergyOptions, EnergyCheck, EnergyCheckLevel } from './smc/check-energy.js'
export type { SmcDiagnostics } from './smc/diagnostics.js'
export type {
  Basis,
  CombineOptions,
  Consistency,
  ConsistencyBand,
  EnergyFunction,
  Evaluation,
  PrecisionTable,
  ResidentEnergy,
  Target,
} from './smc/energy-function.js'
export type { ChainLevel, Level, LevelReport, Step } from './smc/events.js'
export type { FeynmanKacModel } from './smc/feynman-kac.js'
export type { Kernel, Proposal } from './smc/kernels.js'
export { type McmcOptions, type MoveKernel, type MoveOptions, mcmc } from './smc/mcmc.js'
export { type GaussianMixture, type GaussianMixtureOptions, gaussianMixture } from './smc/mixtures.js'
export { calibrate } from './smc/precision/calibrate.js'
export type { CalibrateOptions } from './smc/precision/calibrate-options.js'
export type { Calibration, CalibrationData, Groups } from './smc/precision/calibration.js'
export type { ParticleRng } from './smc/random.js'
export {
  effectiveSampleSize,
  logMeanExp,
  type ResampleOptions,
  type ResamplingScheme,
  resample,
} from './smc/resampling.js'
export type {
  JsonOptions,
  McmcFields,
  McmcResult,
  ResampledOptions,
  SampleFields,
  SampleResult,
  SaveOptions,
  WeightedSamples,
} from './smc/result.js'
export { resultFromJSON } from './smc/result-read.js'
export {
  type Churn,
  type DenoiseOptions,
  type DenoiserFunction,
  type ResidentDenoiser,
  type SampleMethod,
  type SampleOptions,
  sample,
} from './smc/samplers.js'
export { type SigmaGridOptions, sigmaGrid } from './smc/schedule.js'
export { smc } from './smc/smc.js'
export type { SmcOptions, SmcRunOptions } from './smc/smc-options.js'
export type { SmcFields, SmcResult } from './smc/smc-result.js'
export { type BoxOptions, bounded } from './smc/targets/box.js'
export { guided, lowTemperature, negation, product } from './smc/targets/linear.js'
export { mixture } from './smc/targets/mixture.js'
export { type Reward, type RewardValue, rewardTilt } from './smc/targets/reward.js'
export type { Contains, ContainsOptions } from './smc/targets/set.js'
export type { LambdaOption } from './smc/targets/target.js'
export type { LogLine, Preview, TrainingProgress } from './training/events.js'
export type {
  Architecture,
  AutoencoderArchitecture,
  ClassifierArchitecture,
  Levels,
} from './training/network-options.js'
export type { AutoencoderOptions } from './training/objectives/autoencoder.js'
export type { ClassifierOptions } from './training/objectives/classifier.js'
export type { DistillOptions } from './training/objectives/distill.js'
export type { DenoisingOptions, EnergyOptions } from './training/objectives/dsm.js'
export type { ImageTrainingOptions } from './training/objectives/images.js'
export type { Recipe } from './training/recipe.js'
export type { Settings } from './training/settings.js'
export type { DataOptions, TrainingOptions, TrainingPlan, TrainingResult } from './training/types.js'
export type { VerifyResult, VerifyRow } from './verify/fixture.js'
export type { Dtype, Tensor, TensorData } from './weights/safetensors.js'
export type { SourceModel } from './weights/source-model.js'
