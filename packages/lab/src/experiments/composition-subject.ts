import type { EnergyModel, LabelSpec } from 'feynkac'
import type { Classes, Wish } from './composition-problems.js'
import type { Table } from './experiment.js'

/** The pictures that a composition is tried on: their energy, what is asked of it, and who reads them. */
export interface Subject extends Disposable {
  energy: EnergyModel
  labels: LabelSpec
  wishes: readonly Wish[]
  /** How `read` tells, for the note of the table. */
  reader: string
  /** One for each of the pictures [n, ...shape]. */
  read(images: Float32Array): Promise<Reading[]>
  /** Distance of pictures to real ones of what was asked for, 0 where they are alike; where there are real ones. */
  distance?(images: Float32Array, wish: Wish): Promise<number>
  /** About the reader. */
  tables: readonly Table[]
}

export interface Reading {
  classes: Classes
  /** Shows something of the kind at all: what does not is right for nobody. */
  recognised: boolean
}
