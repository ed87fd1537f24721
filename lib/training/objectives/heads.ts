import { invalid } from '../../base/errors.js'
import { checkOptions, givenOptions, type OptionTable } from '../../base/option-table.js'
import { EnergyModel } from '../../models/energy.js'
import type { ModelInfo } from '../../models/info.js'
import type { DeviceOptions } from '../../native/devices.js'
import { energyKinds, type Head } from '../../networks/energy-heads.js'
import type { Definition, FrontEnd } from '../definition.js'
import { distilledHeadRows, type LevelOptions, levelRows } from '../options.js'

/** The energy's form, for training from data and for distillation. */
export interface HeadOptions extends LevelOptions {
  /** Phi of docs/concepts/energies.md: 'dot' (the default), 'l2' or 'norm'; or 'residual': E = |x - D_h|^2 / (2 sigma^2) (docs/residual.md). */
  head?: Head
  /** `a` of the dot head, 1/2 or 1. Default: 1 where an energy of pictures begins with its teacher's weights (docs/recipe.md), 1/2 elsewhere. */
  headScale?: number
}

export const headOptionNames = [...Object.keys(distilledHeadRows), ...Object.keys(levelRows)]

/** Without a teacher a denoiser and its energy can be trained at once. */
export interface JointHeadOptions extends Omit<HeadOptions, 'head'> {
  /** As for distillation, or 'joint': an energy and a denoiser of one network (docs/joint.md). */
  head?: HeadOptions['head'] | 'joint'
  /** With the head 'joint': the weight of the energy's part of the loss (1). */
  energyWeight?: number
}

const scaled = (head: string) => head === 'dot' || head === 'joint'

export function givenHead(
  { head, headScale, energyWeight, levelWeight, levels, levelBatch }: JointHeadOptions,
  rows: OptionTable = distilledHeadRows,
): Partial<Definition> {
  checkOptions(rows, { head, headScale, energyWeight })
  if (headScale !== undefined && headScale !== 1 && head !== undefined && !scaled(head))
    throw invalid('headScale', `1 for the head '${head}'`, headScale)
  if (energyWeight !== undefined && head !== undefined && head !== 'joint')
    throw invalid('energyWeight', `nothing for the head '${head}'`, energyWeight)
  return {
    ...givenOptions<LevelOptions>(levelRows, { levelWeight, levels, levelBatch }),
    ...(head && { kind: head }),
    ...(headScale !== undefined && { headScale }),
    ...(energyWeight !== undefined && { energyWeight }),
  }
}

/** scale: `a` where there is one. */
export function headDefaults({ head = 'dot' }: JointHeadOptions, scale = 0.5): Pick<Definition, 'kind' | 'headScale'> {
  return { kind: head, headScale: scaled(head) ? scale : 1 }
}

export function createEnergy(
  { device, precision }: DeviceOptions,
  teacher: Partial<Pick<ModelInfo, 'sigmaMin' | 'sigmaMax' | 'preconditioning' | 'nullClass'>> = {},
): FrontEnd<EnergyModel>['create'] {
  return ({ kind, headScale, sigmaData, network, seed }, labels) => {
    if (kind === 'denoiser') throw invalid('head', energyKinds, kind)
    const noise = teacher.preconditioning === undefined ? { sigmaData } : teacher
    return EnergyModel.create({ kind, headScale, network, labels, ...noise }, { device, precision, seed })
  }
}
