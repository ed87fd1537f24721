/**
 * feynkac: pretrained diffusion models as energies, and Feynman–Kac sampling from them under control.
 * Thornton et al., "Composition and Control with Distilled Energy Diffusion Models and Sequential Monte Carlo", AISTATS 2025.
 */
export { type DeviceInfo, devices, setThreads } from './devices.js'
export {
  ArgumentError,
  DeviceError,
  FeynkacError,
  FileError,
  FormatError,
  NumericsError,
  OutOfMemoryError,
} from './errors.js'
export type { CallOptions } from './models/batches.js'
export { type NetworkConfig, type ResidualMLPArgs, residualMLP, type SongUNetArgs, songUNet } from './models/config.js'
export { Denoiser, type LoadOptions, type NewModel } from './models/denoiser.js'
export { EnergyModel } from './models/energy.js'
export type { Labels } from './models/labels.js'
export type { ModelInfo } from './models/model-file.js'
export { type VerifyResult, type VerifyRow, verifyFixture } from './verify/fixture.js'
