/** log of the standard normal distribution function, to some twelve digits. */
export function logNormalCdf(t: number): number {
  if (t > 5) return Math.log1p(-Math.exp(logNormalCdf(-t)))
  const logDensity = -0.5 * t * t - 0.5 * Math.log(2 * Math.PI)
  if (t < -5) {
    // Laplace's continued fraction
    let tail = -t
    for (let k = 40; k >= 1; k--) tail = -t + k / tail
    return logDensity - Math.log(tail)
  }
  // Marsaglia (2004): Phi(t) = 1/2 + phi(t) (t + t^3/3 + t^5/15 + ...)
  let [term, sum] = [t, t]
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(sum) && k < 400; k += 2) {
    term *= (t * t) / k
    sum += term
  }
  return Math.log(0.5 + Math.exp(logDensity) * sum)
}

/** A normal variable of `mean` and `std` between two bounds: log of the probability of being there, and its first two moments there. */
export function truncatedNormal(
  centre: number,
  std: number,
  lower: number,
  upper: number,
): { logMass: number; mean: number; second: number } {
  // both bounds where the distribution function has its digits
  const flip = lower > centre
  const [a, b] = flip ? [(centre - upper) / std, (centre - lower) / std] : [(lower - centre) / std, (upper - centre) / std] // biome-ignore format: one line
  const [logA, logB] = [logNormalCdf(a), logNormalCdf(b)]
  const logMass = logB + Math.log1p(-Math.exp(logA - logB))
  const density = (t: number) => Math.exp(-0.5 * t * t - 0.5 * Math.log(2 * Math.PI) - logMass)
  const [atA, atB] = [density(a), density(b)]
  const first = (flip ? -1 : 1) * (atA - atB) * std
  const mean = Math.min(upper, Math.max(lower, centre + first))
  const variance = std * std * (1 + a * atA - b * atB - (atA - atB) ** 2)
  return { logMass, mean, second: mean * mean + Math.min(Math.max(0, variance), (upper - lower) ** 2 / 4) }
}
