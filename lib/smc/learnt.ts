import type { EnergyFunction, Target } from './energy-function.js'

/** Whether an energy, or any that a target is made of, was learnt. */
export function isLearnt(energy: EnergyFunction): boolean {
  return energy.learnt === true || modelsOf(energy).some(isLearnt)
}

export const modelsOf = (energy: EnergyFunction) => (energy as Partial<Target>).models ?? []
