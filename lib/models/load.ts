import { ArgumentError, formatFailure } from '../base/errors.js'
import { turns } from '../base/turns.js'
import { type DeviceOptions, placement, warnOfSlowKernels } from '../native/devices.js'
import type { NativeNetwork, NetworkWeights } from '../native/types.js'
import type { Tensor } from '../weights/safetensors.js'
import type { SourceModel, SourceOptions } from '../weights/source.js'
import type { ImportOptions } from './import.js'
import type { ModelInfo } from './info.js'
import { createNetwork, writeWeights } from './model-file.js'

/** How to read a model of another framework. */
export interface LoadOptions extends DeviceOptions, ImportOptions, SourceOptions {}

export const loadOptionNames = ['device', 'precision', 'config', 'scheduler', 'nullClass', 'network', 'signal']

export interface LoadedModel {
  info: ModelInfo
  network: NativeNetwork
  /** What was assumed. */
  notes: string[]
}

/** Loads a denoiser or an energy in any format that is known. */
export async function loadModel(path: string, options: LoadOptions): Promise<LoadedModel> {
  const { readSource } = await import('../weights/source.js')
  const { network, signal } = options
  return modelFrom(await readSource(path, { network, signal }), options, true)
}

/** The model of a file that was read. `spend`: its tensors are not needed after it. */
export async function modelFrom(source: SourceModel, options: LoadOptions, spend = false): Promise<LoadedModel> {
  const { importModel, isAutoencoder, isClassifier } = await import('./import.js')
  const { device, precision, config, scheduler, nullClass } = options
  const { path } = source
  if (isAutoencoder(source))
    throw new ArgumentError(`${path} holds an autoencoder, not a denoiser or an energy: load it with Autoencoder.load`)
  if (isClassifier(source))
    throw new ArgumentError(`${path} holds a classifier, not a denoiser or an energy: load it with Classifier.load`)
  const { info, tensors, notes } = importModel(source, { config, scheduler, nullClass })
  const at = { device, precision }
  const network = await networkOfFile(path, tensors, at, () => createNetwork(info, at), spend)
  for (const note of notes) process.emitWarning(`${path}: ${note}`, 'FeynkacWarning')
  return { info, network, notes }
}

/** The network that `make` makes for the options' device, with a file's weights. Throws FormatError where they do not fit. */
export async function networkOfFile<N extends NetworkWeights & { dispose(): void }>(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  options: DeviceOptions,
  make: () => N,
  spend = false,
): Promise<N> {
  placement(options) // what is wrong from here on is the file
  const turn = turns()
  const network = ofFile(path, make)
  try {
    await turn()
    await writeWeights(network, tensors, path, spend)
    await warnOfSlowKernels(options)
    return network
  } catch (error) {
    network.dispose()
    throw error
  }
}

/** Makes a network; a configuration that cannot be is the file's fault. */
function ofFile<T>(path: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof ArgumentError) return formatFailure(path)(error.message, error)
    throw error
  }
}
