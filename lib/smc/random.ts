import { integer } from '../base/args.js'
import { purpose } from '../base/random.js'
import { native } from '../native/addon.js'

/**
 * The seed of what goes on from the samples of an smc run of a seed: far from any that is likely to be in use. With the run's own, step k
 * would draw again the noise that its step k has put into the particles.
 */
export const seedAfter = (seed: number): number => (seed < 2 ** 52 ? seed + 2 ** 52 : seed - 2 ** 52)

/**
 * Random numbers for a FeynmanKacModel of one's own: counter-based, so the same (seed, level, call, particle) gives the same
 * numbers whatever else is drawn. Every call within a level gives new numbers.
 */
export class ParticleRng {
  #calls = 0

  /** `smc` makes them. */
  constructor(
    /** Seed of the run. */
    readonly seed: number,
    /** Level of the annealing that the numbers are for. */
    readonly level: number,
    /** Particles that get numbers. */
    readonly particles: number,
    /** Number of the first of them. */
    readonly first = 0,
  ) {}

  /** Standard normals, `each` for every particle: [particles, each]. Throws ArgumentError. */
  normals(each = 1): Float32Array {
    const out = new Float32Array(this.#length(each))
    native.normals(out, this.particles, this.seed, purpose.user, this.#step(), this.first)
    return out
  }

  /** Uniforms in (0, 1), `each` for every particle: [particles, each]. Throws ArgumentError. */
  uniforms(each = 1): Float64Array {
    const out = new Float64Array(this.#length(each))
    native.uniforms(out, this.particles, this.seed, purpose.user, this.#step(), this.first)
    return out
  }

  #length(each: number): number {
    return this.particles * integer('each', each, 1, Math.floor(2 ** 31 / this.particles))
  }

  #step(): number {
    return this.level + 0x10000 * this.#calls++
  }
}
