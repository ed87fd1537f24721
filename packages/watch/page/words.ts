/** Numbers in words. */

export function short(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–'
  const size = Math.abs(value)
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(digits))}M`
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(digits))}k`
  if (size !== 0 && size < 1e-3) return value.toExponential(1).replace('e-', 'e−')
  return String(Number(value.toPrecision(digits))).replace('-', '−')
}

export function lasting(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds) || seconds < 0) return '–'
  const s = Math.round(seconds)
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`
}

export const percent = (share: number | null) =>
  share === null ? '–' : `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`

export function ago(time: number, now: number): string {
  const seconds = (now - time) / 1000
  return seconds < 5 ? 'now' : `${lasting(seconds).replace(/ \d+ (s|min|h)$/, '')} ago`
}
