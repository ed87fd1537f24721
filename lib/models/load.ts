import { type DeviceOptions, placement, warnOfSlowKernels } from '../devices.js'
import { ArgumentError, formatFailure } from '../errors.js'
import type { NativeNetwork } from '../native.js'
import { readSource, type SourceModel, type SourceOptions } from '../weights/source.js'
import { type ImportOptions, importModel, isAutoencoder } from './import.js'
import { createNetwork, type ModelInfo, writeWeights } from './model-file.js'

/** How to read a model of another framework. */
export interface LoadOptions extends DeviceOptions, ImportOptions, SourceOptions {}

export const loadOptionNames = ['device', 'precision', 'config', 'scheduler', 'network', 'signal']

export interface LoadedModel {
  info: ModelInfo
  network: NativeNetwork
  /** What was assumed. */
  notes: string[]
}

/** Loads a denoiser or an energy in any format that is known. */
export async function loadModel(path: string, options: LoadOptions): Promise<LoadedModel> {
  const { network, signal } = options
  return modelFrom(await readSource(path, { network, signal }), options)
}

/** The model of a file that was read. */
export async function modelFrom(source: SourceModel, options: LoadOptions): Promise<LoadedModel> {
  const { device, precision, config, scheduler } = options
  const { path } = source
  if (isAutoencoder(source))
    throw new ArgumentError(`${path} holds an autoencoder, not a denoiser or an energy: load it with Autoencoder.load`)
  const { info, tensors, notes } = importModel(source, { config, scheduler })
  placement({ device, precision }) // what is wrong from here on is the file
  const network = ofFile(path, () => createNetwork(info, { device, precision }))
  try {
    await writeWeights(network, tensors, path)
    await warnOfSlowKernels({ device, precision })
    for (const note of notes) process.emitWarning(`${path}: ${note}`, 'FeynkacWarning')
    return { info, network, notes }
  } catch (error) {
    network.dispose()
    throw error
  }
}

/** Makes a network; a configuration that cannot be is the file's fault. */
export function ofFile<T>(path: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof ArgumentError) return formatFailure(path)(error.message, error)
    throw error
  }
}
