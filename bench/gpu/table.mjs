/** The figures of a run as a page: times, ratios within the run, and shares of what the device could reach at best. */

/** What the device reached in this run: bytes per second of a copy, operations per second of matrix products. */
export function ceilings(rows) {
  const found = { bytes: undefined, fp32: undefined, tf32: undefined, bf16: undefined }
  for (const { kind, job, precision, results } of rows) {
    if (kind !== 'ceiling') continue
    for (const { seconds, bytes, operations } of Object.values(results)) {
      if (job === 'copy' && bytes) found.bytes = Math.max(found.bytes ?? 0, bytes / seconds)
      if (job === 'product' && operations) found[precision] = operations / seconds
    }
  }
  // feynkac's fp32 is three TF32 products on tensor cores
  if (found.tf32) found.fp32 = Math.max(found.fp32 ?? 0, found.tf32 / 3)
  return found
}

/** The least time: for each kind of call the longer of its bytes and its operations, at the ceilings. Undefined without them. */
export function floor(row, result, { bytes, ...rates }) {
  if (row.kind === 'particles') return bytes && result.bytes / bytes
  const rate = rates[row.precision]
  if (!bytes || !rate || !result.costs) return undefined
  return Object.entries(result.costs)
    .filter(([kind]) => kind !== 'transfer')
    .reduce((sum, [, [, operations, moved]]) => sum + Math.max(operations / rate, moved / bytes), 0)
}

export const operations = (result) =>
  Object.values(result.costs ?? {}).reduce((sum, [, operationsOfKind]) => sum + operationsOfKind, 0)

export function duration(seconds) {
  const [scale, unit] = seconds < 1e-3 ? [1e6, 'µs'] : seconds < 1 ? [1e3, 'ms'] : [1, 's']
  return `${(seconds * scale).toPrecision(3)} ${unit}`
}

const REASONS = { memory: 'out of memory', time: 'out of time', failure: 'failed' }
const time = (result) => (result.error ? REASONS[result.error.kind] : duration(result.seconds))
const percent = (share) => (share === undefined ? '' : `${(100 * share).toFixed(0)} %`)
const gibi = (bytes) => (bytes ? `${(bytes / 2 ** 30).toFixed(2)} GiB` : '')

/** A peer's time and how many times longer than feynkac's beside it; its memory where it says so. */
function versus(peer, ours) {
  if (!peer) return ''
  if (peer.error || ours.error) return time(peer)
  const memory = peer.deviceBytes ? `, ${gibi(peer.deviceBytes)}` : ''
  return `${time(peer)} (${(peer.seconds / ours.seconds).toFixed(2)}×${memory})${peer.agrees === false ? ' DISAGREES' : ''}`
}

const table = (head, lines) => [
  `| ${head.join(' | ')} |`,
  `|${head.map((_, i) => (i < 1 ? '---' : '--:')).join('|')}|`,
  ...lines.map((cells) => `| ${cells.join(' | ')} |`),
]

function lineOf(row, names, limits) {
  const { feynkac: ours, ...peers } = row.results
  const least = !ours.error && floor(row, ours, limits)
  const rate = ours.error
    ? ''
    : row.kind === 'particles'
      ? `${(ours.bytes / ours.seconds / 1e9).toPrecision(3)} GB/s`
      : `${(operations(ours) / ours.seconds / 1e12).toPrecision(3)} TFLOP/s`
  const share = least ? percent(least / ours.seconds) : ''
  return [row.name, time(ours), rate, share, gibi(ours.deviceBytes), ...names.map((name) => versus(peers[name], ours))]
}

export function page(record) {
  const limits = ceilings(record.rows)
  const names = Object.keys(record.versions).filter((name) => name !== 'feynkac')
  const programs = [
    ...new Set(
      Object.values(record.versions).flatMap(({ torch, jax }) =>
        torch ? [`PyTorch ${torch}`] : jax ? [`JAX ${jax}`] : [],
      ),
    ),
  ]
  const lines = [
    '# GPU benchmark',
    '',
    `${record.device}, ${record.date}; ${programs.join(', ')}.`,
    `Reached in this run: copy ${limits.bytes ? `${(limits.bytes / 1e12).toFixed(2)} TB/s` : 'not measured'}; products ${[
      'tf32',
      'bf16',
    ]
      .map((p) => `${p} ${limits[p] ? `${(limits[p] / 1e12).toPrecision(3)} TFLOP/s` : 'not measured'}`)
      .join(', ')}.`,
    'Medians after warm-up; feynkac and PyTorch by CUDA events, JAX by the clock. "of floor": least time at those ceilings over the time.',
    "In brackets: how many times feynkac's time in the same row, and the peak of memory in use.",
    '',
  ]
  for (const [kind, title] of [
    ['network', 'Networks'],
    ['particles', 'Particles'],
  ]) {
    const rows = record.rows.filter((row) => row.kind === kind && row.results.feynkac)
    const shown = names.filter((name) => rows.some((row) => row.results[name]))
    if (rows.length === 0) continue
    const head = [title, 'feynkac', 'rate', 'of floor', 'memory', ...shown]
    lines.push(
      `## ${title}`,
      '',
      ...table(
        head,
        rows.map((row) => lineOf(row, shown, limits)),
      ),
      '',
    )
  }
  if (record.notRun.length) lines.push(`Not run, out of time: ${record.notRun.length} rows.`, '')
  return lines.join('\n')
}
