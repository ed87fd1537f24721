import type { Lab } from './lab.js'

export async function loadLab(): Promise<Lab> {
  return (await import('../lab.js')).lab
}
