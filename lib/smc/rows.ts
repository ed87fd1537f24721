import { ArgumentError } from '../base/errors.js'
import { native, run } from '../native/addon.js'
import { type Space, toHost } from '../native/space.js'
import type { Doubles, Floats, Ints } from '../native/types.js'
import type { Communicator } from '../ranks/communicator.js'
import { gatherTexts, sharesOf } from '../ranks/share.js'

/** log-weight += constant + sum_j coefficients[j] terms[j] */
export interface Increment {
  terms: readonly Doubles[]
  coefficients: readonly number[]
  constant: number
}

/** Draws ancestors, and in the same job gathers rows where it is given some: to[j] = the ancestors' rows of from[j]. */
export type Draw = (rows?: { from: (Floats | Doubles)[]; to: (Floats | Doubles)[] }) => Promise<void>

/**
 * The rows of a population that this process has: all of them, or those of one rank. Where there are several ranks, the rows lie in blocks by the
 * particles' numbers, and what is one number a particle (log-weights, energies, ancestors) is brought together on every rank, so that all
 * decisions are taken everywhere as one process takes them. Rows travel only where their offspring lies on another rank.
 */
export interface PopulationRows {
  /** Particles in all, how many are here, and the number of the first of them. */
  readonly total: number
  readonly count: number
  readonly first: number
  /** Copies of row-wise arrays with the ancestors' rows; ancestors: of all particles, which `draw` draws. */
  gather<T extends Record<string, Floats | Doubles>>(
    space: Space,
    from: T,
    ancestors: Ints,
    draw: Draw,
    signal?: AbortSignal,
  ): Promise<T>
  /** One number a particle: of all, from those of the particles here. `into`: what it gave for others, which are not needed any more. */
  whole(values: Doubles, into?: Doubles): Promise<Doubles>
  /** That of all particles, from that of those here. It holds until the next one. */
  increment(own: Increment): Promise<Increment>
  /** As native.meanSquares over all particles; weights: of all. */
  meanSquares(out: Float64Array, grad: Floats, weights: Doubles, signal?: AbortSignal): Promise<void>
  sum(value: number): Promise<number>
  /** The first text that any process gives. */
  firstText(own: string | undefined): Promise<string | undefined>
  /** The samples of all particles, or of those here; 'first': of all on the first rank. */
  collect(own: Float32Array, gather: 'own' | 'first' | 'all'): Promise<Float32Array>
}

/** All rows are here. */
export class OwnRows implements PopulationRows {
  readonly first = 0

  constructor(readonly total: number) {}

  get count(): number {
    return this.total
  }

  async gather<T extends Record<string, Floats | Doubles>>(
    space: Space,
    from: T,
    _ancestors: Ints,
    draw: Draw,
  ): Promise<T> {
    const to = Object.fromEntries(Object.entries(from).map(([name, array]) => [name, space.like(array)])) as T
    await draw({ from: Object.values(from), to: Object.values(to) })
    return to
  }

  async whole(values: Doubles): Promise<Doubles> {
    return values
  }

  async increment(own: Increment): Promise<Increment> {
    return own
  }

  meanSquares(out: Float64Array, grad: Floats, weights: Doubles, signal?: AbortSignal): Promise<void> {
    return run(() => native.meanSquares({ out, grad, weights }), signal)
  }

  async sum(value: number): Promise<number> {
    return value
  }

  async firstText(own: string | undefined): Promise<string | undefined> {
    return own
  }

  async collect(own: Float32Array): Promise<Float32Array> {
    return own
  }
}

type HostRows = Float32Array | Float64Array

/** One rank's rows, in the host's memory. */
export class RankRows implements PopulationRows {
  readonly count: number
  readonly first: number
  readonly #starts: number[]
  readonly #counts: number[]
  readonly #ranks: Communicator
  // kept from level to level
  #own?: Float64Array
  #increments?: Doubles
  #squares?: Doubles

  constructor(
    readonly total: number,
    ranks: Communicator,
  ) {
    this.#ranks = ranks
    if (total < ranks.size) throw new ArgumentError(`particles: ${total} are too few for ${ranks.size} ranks`)
    this.#starts = sharesOf(total, ranks.size)
    this.#counts = this.#starts.slice(1).map((start, r) => start - this.#starts[r]!)
    this.count = this.#counts[ranks.rank]!
    this.first = this.#starts[ranks.rank]!
  }

  async gather<T extends Record<string, Floats | Doubles>>(
    space: Space,
    from: T,
    ancestors: Ints,
    draw: Draw,
    signal?: AbortSignal,
  ): Promise<T> {
    await draw()
    const { here, elsewhere, give, need } = this.#routes(await toHost(ancestors, signal))
    const to = Object.fromEntries(Object.entries(from).map(([name, array]) => [name, space.like(array)])) as T
    await run(() => native.gather({ ancestors: here, from: Object.values(from), to: Object.values(to) }), signal)
    // a row that travels is the bytes of its values in all arrays
    const bytesOf = (arrays: T) =>
      (Object.values(arrays) as HostRows[]).map(({ buffer, byteOffset, byteLength }) => ({
        bytes: new Uint8Array(buffer, byteOffset, byteLength),
        width: byteLength / this.count,
      }))
    const [sources, targets] = [bytesOf(from), bytesOf(to)]
    const width = sources.reduce((sum, source) => sum + source.width, 0)
    const counts = (lists: number[][]) => lists.map((list) => list.length * width)
    const leaving = give.flat()
    const given = new Uint8Array(leaving.length * width)
    let at = 0
    for (const row of leaving)
      for (const source of sources) {
        given.set(source.bytes.subarray(row * source.width, (row + 1) * source.width), at)
        at += source.width
      }
    const got = await this.#ranks.allToAll(given, counts(give), counts(need))
    for (const { row, at: place } of elsewhere) {
      let start = place * width
      for (const target of targets) {
        target.bytes.set(got.subarray(start, start + target.width), row * target.width)
        start += target.width
      }
    }
    return to
  }

  /**
   * here: of each row here the row its ancestor has here (0 where it lies elsewhere); elsewhere: rows whose ancestor is the at-th that comes; give,
   * need: rows here that each rank is to get, and particles that are to come from each, each once, in the order of the offspring.
   */
  #routes(ancestors: Int32Array) {
    const { rank, size } = this.#ranks
    const { first, count } = this
    const starts = this.#starts
    const lists = () => Array.from({ length: size }, () => [] as number[])
    const [give, need] = [lists(), lists()]
    const given = new Int32Array(count).fill(-1) // the last rank that it was given to
    for (let r = 0; r < size; r++) {
      if (r === rank) continue
      for (let i = starts[r]!; i < starts[r + 1]!; i++) {
        const row = ancestors[i]! - first
        if (row < 0 || row >= count || given[row] === r) continue
        given[row] = r
        give[r]!.push(row)
      }
    }
    const here = new Int32Array(count)
    const places = new Map<number, { holder: number; at: number }>()
    const foreign: { row: number; ancestor: number }[] = []
    for (let row = 0; row < count; row++) {
      const ancestor = ancestors[first + row]!
      if (ancestor >= first && ancestor < first + count) {
        here[row] = ancestor - first
        continue
      }
      foreign.push({ row, ancestor })
      if (places.has(ancestor)) continue
      let holder = Math.min(size - 1, Math.floor((ancestor * size) / this.total))
      while (ancestor < starts[holder]!) holder--
      while (ancestor >= starts[holder + 1]!) holder++
      places.set(ancestor, { holder, at: need[holder]!.length })
      need[holder]!.push(ancestor)
    }
    const offsets = need.map((_, r) => need.slice(0, r).reduce((sum, list) => sum + list.length, 0))
    const elsewhere = foreign.map(({ row, ancestor }) => {
      const { holder, at } = places.get(ancestor)!
      return { row, at: offsets[holder]! + at }
    })
    return { here, elsewhere, give, need }
  }

  async whole(values: Doubles, into?: Doubles): Promise<Doubles> {
    return this.#ranks.allGather(values as Float64Array, this.#counts, into as Float64Array)
  }

  /** Its terms are summed before they travel, in the order in which reweighting does. */
  async increment({ terms, coefficients, constant }: Increment): Promise<Increment> {
    if (terms.length === 0) return { terms, coefficients, constant }
    this.#own ??= new Float64Array(this.count)
    const request = { out: this.#own, terms, coefficients: Float64Array.from(coefficients), constant }
    await run(() => native.sumTerms(request))
    this.#increments = await this.whole(this.#own, this.#increments)
    return { terms: [this.#increments], coefficients: [1], constant: 0 }
  }

  /** In the order of one process: by the squares of all rows, or, for each coordinate, one rank going on from the sums of the one before. */
  async meanSquares(out: Float64Array, grad: Floats, weights: Doubles, signal?: AbortSignal): Promise<void> {
    const d = grad.length / this.count
    const own = (weights as Float64Array).subarray(this.first, this.first + this.count)
    if (out.length === 1) {
      this.#own ??= new Float64Array(this.count)
      const request = { out: this.#own, terms: [grad], coefficients: Float64Array.of(1) }
      await run(() => native.rowSquares(request), signal)
      this.#squares = await this.whole(this.#own, this.#squares)
      out[0] = native.weightedSum(this.#squares as Float64Array, weights as Float64Array) / d
      return
    }
    out.fill(0)
    for (let r = 0; r < this.#ranks.size; r++) {
      const mine = r === this.#ranks.rank
      if (mine) await run(() => native.meanSquares({ out, grad, weights: own, goesOn: true }), signal)
      const counts = this.#counts.map((_, other) => (other === r ? d : 0))
      out.set(await this.#ranks.allGather(mine ? out : new Float64Array(0), counts))
    }
  }

  async sum(value: number): Promise<number> {
    return (await this.#ranks.allGather(Float64Array.of(value))).reduce((a, b) => a + b, 0)
  }

  async firstText(own: string | undefined): Promise<string | undefined> {
    return (await gatherTexts(this.#ranks, own ?? '')).find((text) => text !== '')
  }

  async collect(own: Float32Array, gather: 'own' | 'first' | 'all'): Promise<Float32Array> {
    const { rank, size } = this.#ranks
    const lengths = this.#counts.map((n) => (n * own.length) / this.count)
    if (gather === 'all') return this.#ranks.allGather(own, lengths)
    if (gather === 'own') return own.slice()
    const toFirst = Array.from({ length: size }, (_, r) => (r === 0 ? own.length : 0))
    const all = await this.#ranks.allToAll(own, toFirst, rank === 0 ? lengths : lengths.map(() => 0))
    return rank === 0 ? all : own.slice()
  }
}
