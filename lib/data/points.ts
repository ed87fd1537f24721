/** First two coordinates of rows of `dim` numbers, to four digits: at most `most` of them, evenly. Of one number its place is the height. */
export function pointsOf(samples: Float32Array, dim: number, most = 256): [number, number][] {
  const count = samples.length / dim
  const n = Math.min(count, most)
  const rounded = (value: number) => Number(value.toPrecision(4))
  return Array.from({ length: n }, (_, k) => {
    const row = Math.floor((k * count) / n)
    return [rounded(samples[row * dim]!), rounded(dim > 1 ? samples[row * dim + 1]! : k / n)]
  })
}
