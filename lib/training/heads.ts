import { finiteNumber, oneOf } from '../args.js'
import type { DeviceOptions } from '../devices.js'
import { invalid } from '../errors.js'
import { EnergyModel } from '../models/energy.js'
import type { ModelInfo } from '../models/model-file.js'
import type { Definition, FrontEnd } from './run.js'

/** The energy's form, for training from data and for distillation. */
export interface HeadOptions {
  /** Phi of method.md section 1: 'dot' (the default), 'l2' or 'norm'. */
  head?: 'dot' | 'l2' | 'norm'
  /** `a` of the dot head: 1/2 (the default) or 1. */
  headScale?: number
}

export function givenHead({ head, headScale }: HeadOptions): Partial<Definition> {
  if (head !== undefined) oneOf('head', head, ['dot', 'l2', 'norm'])
  if (headScale !== undefined) finiteNumber('headScale', headScale, { above: 0 })
  if (headScale !== undefined && headScale !== 1 && head !== undefined && head !== 'dot')
    throw invalid('headScale', `1 for the head '${head}'`, headScale)
  return { ...(head && { kind: head }), ...(headScale !== undefined && { headScale }) }
}

export function headDefaults({ head }: HeadOptions): Pick<Definition, 'kind' | 'headScale'> {
  return { kind: head ?? 'dot', headScale: (head ?? 'dot') === 'dot' ? 0.5 : 1 }
}

export function createEnergy(
  { device, precision }: DeviceOptions,
  teacher: Partial<Pick<ModelInfo, 'sigmaMin' | 'sigmaMax' | 'preconditioning'>> = {},
): FrontEnd<EnergyModel>['create'] {
  return ({ kind, headScale, sigmaData, network, seed }, labels) => {
    if (kind === 'denoiser') throw invalid('head', "'dot', 'l2' or 'norm'", kind)
    const noise = teacher.preconditioning === undefined ? { sigmaData } : teacher
    return EnergyModel.create({ kind, headScale, network, labels, ...noise }, { device, precision, seed })
  }
}
