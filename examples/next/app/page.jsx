import { draw } from './samples.js'

/** Drawn on the server for each request. */
export const dynamic = 'force-dynamic'

export default async function Page() {
  const result = await draw({ particles: 500, gamma: 2 })
  const drawn = result.resampled()
  const points = Array.from({ length: 500 }, (_, i) => [drawn[2 * i], drawn[2 * i + 1]])
  return (
    <main>
      <p>log Z = {result.logZ.toFixed(2)}</p>
      <svg viewBox="-3 -3 6 6" width="480" role="img" aria-label="samples">
        {points.map(([x, y], i) => (
          <circle key={i} cx={x} cy={-y} r="0.04" fill="#1f5fa8" />
        ))}
      </svg>
    </main>
  )
}
