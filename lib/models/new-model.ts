import { integer, knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { run } from '../native/addon.js'
import { type DeviceOptions, deviceOptionNames, warnOfSlowKernels } from '../native/devices.js'
import type { NativeNetwork } from '../native/types.js'
import { givenNetworkConfig, type NetworkConfig } from '../networks/config.js'
import { checkModelInfo, type ModelInfo } from './info.js'
import { createNetwork } from './model-file.js'

/** What a new model needs besides its network; the rest has EDM's defaults (sigma_data 0.5, sigma in [0.002, 80]). */
export type NewModel = Partial<Omit<ModelInfo, 'network' | 'calibration'>> & { network: NetworkConfig }

const newModelNames = [
  'kind',
  'headScale',
  'sigmaData',
  'preconditioning',
  'sigmaMin',
  'sigmaMax',
  'labels',
  'nullClass',
  'network',
]

/** The description of a new model, with its defaults. Throws ArgumentError. */
export function completeInfo(given: NewModel, kind: ModelInfo['kind']): ModelInfo {
  knownOptions('a new model', given, newModelNames)
  const headScale = kind === 'dot' || kind === 'joint' ? 0.5 : 1
  if (given.preconditioning !== undefined && given.sigmaData !== undefined)
    throw invalid('sigmaData', 'nothing beside preconditioning, which has it', given.sigmaData)
  const info = { kind, headScale, sigmaData: 0.5, sigmaMin: 0.002, sigmaMax: 80, labels: null, ...given }
  return checkModelInfo(info, givenNetworkConfig(given.network), (what) => {
    throw new ArgumentError(`a new model: ${what}`)
  })
}

/** A network with weights drawn from the seed. */
export async function newNetwork(info: ModelInfo, options: DeviceOptions & { seed?: number }): Promise<NativeNetwork> {
  knownOptions('create', options, [...deviceOptionNames, 'seed'])
  const seed = integer('seed', options.seed ?? 0, 0)
  const network = createNetwork(info, options)
  await run(() => network.initialise(seed))
  await warnOfSlowKernels(options)
  return network
}
