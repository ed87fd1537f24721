import { setImmediate as breathe } from 'node:timers/promises'
import { type DeviceOptions, warnOfSlowKernels } from '../devices.js'
import { FormatError } from '../errors.js'
import { type NativeNetwork, run } from '../native.js'
import { readSource, type SourceOptions } from '../weights/source.js'
import { type ImportOptions, importModel } from './import.js'
import { createNetwork, flatten, type ModelInfo, SLICE } from './model-file.js'

/** How to read a model of another framework. */
export interface LoadOptions extends DeviceOptions, ImportOptions, SourceOptions {}

export const loadOptionNames = ['device', 'precision', 'config', 'scheduler', 'network', 'signal']

/** Loads a model in any format that is known: its description, a network holding its weights, and what was assumed. */
export async function loadModel(
  path: string,
  options: LoadOptions,
): Promise<{ info: ModelInfo; network: NativeNetwork; notes: string[] }> {
  const { device, precision, config, scheduler, network: chosen, signal } = options
  const source = await readSource(path, { network: chosen, signal })
  const { info, tensors, notes } = importModel(source, { config, scheduler })
  const network = createNetwork(info, { device, precision })
  try {
    const flat = await flatten(network, tensors, path)
    for (let i = 0; i < flat.length; i++) {
      if (i % SLICE === SLICE - 1) await breathe()
      if (!Number.isFinite(flat[i])) throw new FormatError(`${path}: the weights contain NaN or infinity`, path)
    }
    await run(() => network.write('params', flat), signal)
    await warnOfSlowKernels({ device, precision })
    return { info, network, notes }
  } catch (error) {
    network.dispose()
    throw error
  }
}
