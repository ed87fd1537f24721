import { Denoiser } from './denoiser.js'
import { EnergyModel } from './energy.js'
import { type LoadOptions, loadModel } from './load.js'

/** The denoiser or the energy that a file holds. Throws as their `load`. */
export async function openModel(path: string, options: LoadOptions): Promise<Denoiser | EnergyModel> {
  const loaded = await loadModel(path, options)
  return loaded.info.kind === 'denoiser' ? Denoiser.from(loaded) : EnergyModel.from(loaded)
}
