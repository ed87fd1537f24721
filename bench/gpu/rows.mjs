/**
 * What the GPU benchmark measures, the most important first: a run that is out of time has at least these. A row is one job at one
 * size in one precision, with the sides that do it in turns. Rows of slow-compiling sides come later and time feynkac again beside them.
 */

export const NETWORKS = {
  'ddpmpp-cifar10': { resolution: 32, channels: 3, width: 128, mult: [2, 2, 2], blocks: 4, attention: [16] },
  'ddpmpp-cifar10-half': { resolution: 32, channels: 3, width: 64, mult: [2, 2, 2], blocks: 4, attention: [16] },
  'ddpmpp-64': { resolution: 64, channels: 3, width: 128, mult: [1, 2, 2, 2], blocks: 4, attention: [16] },
  tiny: { resolution: 4, channels: 1, width: 8, mult: [1, 2], blocks: 1, attention: [2] },
}

const PRECISIONS = ['tf32', 'bf16', 'fp32']
const EAGER = ['feynkac', 'torch', 'torch-graphs']

/** All combinations, the first list varying slowest. */
function* grid(...lists) {
  if (lists.length === 0) return yield []
  const [first, ...rest] = lists
  for (const value of first) for (const others of grid(...rest)) yield [value, ...others]
}

const networkRows = (sides, network, jobs, batches, precisions) =>
  [...grid(precisions, batches, jobs)].map(([precision, batch, job]) => ({
    name: `${network}  ${job}  batch ${batch}  ${precision}`,
    kind: 'network',
    network,
    job,
    batch,
    precision,
    sides,
  }))

const particleRows = (jobs, counts, d, peer = 'torch') =>
  [...grid(counts, jobs)].map(([n, job]) => ({
    name: `${job}  N = ${n.toExponential(0).replace('+', '')}, d = ${d}`,
    kind: 'particles',
    job,
    n,
    d,
    sides: ['feynkac', peer],
  }))

const ceilingRows = (copied, side) => [
  { name: 'copy', kind: 'ceiling', job: 'copy', n: copied, sides: ['feynkac', 'torch'] },
  ...PRECISIONS.map((precision) => ({
    name: `matrix product  ${precision}`,
    kind: 'ceiling',
    job: 'product',
    n: side,
    precision,
    sides: ['torch'],
  })),
]

const STEPS = ['propose', 'reweight', 'resample', 'gather']
const ALL = ['distill', 'energyGrad', 'denoise', 'dsm']

export function fullRows() {
  const cifar = 'ddpmpp-cifar10'
  return [
    ...ceilingRows(2 ** 30, 8192),
    ...networkRows(EAGER, cifar, ['distill', 'energyGrad'], [128], ['tf32', 'bf16']),
    ...particleRows(STEPS, [1e4, 1e5, 1e6, 1e7, 1e8], 2),
    ...particleRows(['propose', 'gather'], [1e4, 1e5], 3072),
    ...networkRows(EAGER, cifar, ['distill', 'energyGrad'], [256], ['tf32', 'bf16']),
    ...networkRows(['feynkac', 'jax'], cifar, ['distill', 'energyGrad'], [128], ['tf32', 'bf16']),
    ...networkRows(['feynkac', 'torch-compile'], cifar, ['energyGrad', 'denoise'], [128], ['tf32', 'bf16']),
    ...particleRows(['propose'], [1e6], 2, 'torch-compile'),
    ...particleRows(['propose'], [1e5], 3072, 'torch-compile'),
    ...networkRows(EAGER, cifar, ['distill', 'energyGrad'], [128, 256], ['fp32']),
    ...networkRows(EAGER, cifar, ['denoise', 'dsm'], [128, 256], PRECISIONS),
    ...networkRows(EAGER, cifar, ALL, [16, 64, 512], PRECISIONS),
    ...networkRows(EAGER, 'ddpmpp-cifar10-half', ALL, [128, 256], PRECISIONS),
    ...networkRows(EAGER, 'ddpmpp-64', ALL, [16, 64, 128], PRECISIONS),
    ...networkRows(['feynkac', 'jax', 'torch-compile'], cifar, ['denoise', 'dsm'], [256], ['tf32', 'bf16']),
    ...networkRows(EAGER, 'ddpmpp-cifar10-half', ALL, [16, 64, 512], PRECISIONS),
  ]
}

/** The same kinds of rows at sizes for a CPU: what tests of the benchmark itself run. */
export function tinyRows() {
  return [
    ...ceilingRows(2 ** 14, 64).filter((row) => row.precision !== 'tf32'),
    ...networkRows(['feynkac', 'torch', 'jax'], 'tiny', ['denoise', 'energyGrad', 'dsm', 'distill'], [2], ['fp32']),
    ...particleRows(STEPS, [1000], 2),
  ]
}
