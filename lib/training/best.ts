import { run } from '../native/addon.js'
import type { NetworkWeights } from '../native/types.js'
import { bestWeights, type Checkpoint } from './checkpoint.js'
import type { BestState } from './types.js'

/**
 * The averaged weights that a run ends with: of those that were measured, the ones with the lowest loss on the samples held out. The last
 * ones, unless the run has since begun to overfit, or has diverged.
 */

export class BestAverage {
  readonly #network: NetworkWeights
  #found: { state: BestState; weights: Float32Array } | null

  private constructor(network: NetworkWeights, found: { state: BestState; weights: Float32Array } | null) {
    this.#network = network
    this.#found = found
  }

  /** As the checkpoint has it. Throws FormatError. */
  static async of(network: NetworkWeights, checkpoint: Checkpoint | null): Promise<BestAverage> {
    const weights = checkpoint && (await bestWeights(network, checkpoint))
    return new BestAverage(network, weights && { state: checkpoint.loop.best!, weights })
  }

  get state(): BestState | undefined {
    return this.#found?.state
  }

  get weights(): Float32Array | null {
    return this.#found?.weights ?? null
  }

  /** Takes in the loss of the averaged weights as they are now. */
  async consider(state: BestState): Promise<void> {
    if (!(state.loss < (this.#found?.state.loss ?? Infinity))) return
    const weights = this.#found?.weights ?? new Float32Array(this.#network.parameterCount())
    await run(() => this.#network.read('ema', weights))
    this.#found = { state, weights }
  }
}
