// A Feynman-Kac model of one's own: a hidden walk that is seen with noise, filtered by smc and, exactly, by Kalman. node examples/state-space
import { smc } from 'feynkac'

const [a, q, r] = [0.9, 0.5, 0.3] // x_k = a x_{k-1} + N(0, q), y_k = x_k + N(0, r), x_0 ~ N(0, 1)
const y = [0.3, 1.1, 0.7, -0.2, -0.9, -1.4, -0.3, 0.5, 0.8, 1.9]

const model = {
  levels: y.length,
  initial: (_, rng) => rng.normals(),
  propagate: (_, x, rng) => {
    const steps = rng.normals()
    return x.map((value, i) => a * value + Math.sqrt(q) * steps[i])
  },
  logPotential: (k, _, x) =>
    Float64Array.from(x, (value) => -((y[k] - value) ** 2) / (2 * r) - Math.log(2 * Math.PI * r) / 2),
}

/** Mean and variance of x_K given y_0 .. y_K, and log p(y). */
function kalman() {
  let [mean, variance, logZ] = [0, 1, 0]
  for (const [k, seen] of y.entries()) {
    if (k > 0) [mean, variance] = [a * mean, a * a * variance + q]
    const total = variance + r
    logZ -= (seen - mean) ** 2 / (2 * total) + Math.log(2 * Math.PI * total) / 2
    const gain = variance / total
    ;[mean, variance] = [mean + gain * (seen - mean), (1 - gain) * variance]
  }
  return { mean, variance, logZ }
}

const result = await smc(model, { particles: 20_000, seed: 4 })
const particles = { mean: result.mean()[0], variance: result.variance()[0], logZ: result.logZ }
console.log(JSON.stringify({ exact: kalman(), particles, logZError: result.logZError }))
