/**
 * What smc/ and mcmc() need of an energy, and nothing more. An analytic mixture, a distilled network and a user's own
 * function are the same to them.
 */
export interface EnergyFunction {
  /** Shape of one sample, for example [3, 32, 32] or [2]. */
  readonly shape: readonly number[]
  /**
   * E(x, sigma) = -log p_sigma(x) + const(sigma) and its gradient with respect to x.
   * x: [B, ...shape] row-major; energy: [B]; grad: like x. The returned arrays belong to the caller.
   */
  energyGrad(
    x: Float32Array,
    sigma: number,
    options?: { signal?: AbortSignal },
  ): Promise<{ energy: Float64Array; grad: Float32Array }>
}
