import { useEffect, useRef } from 'preact/hooks'
import type { Line } from './runs.js'
import { useTheme } from './theme.js'

/** Who descends from whom, as it grows: dark what has descendants now, pale what has not, a dotted line where the population was resampled. */

const MOST_LINES = 192

export function Genealogy({
  lines,
  particles,
  lastLevel,
  name,
}: {
  lines: readonly Line[]
  particles: number
  lastLevel: number
  name?: string
}) {
  // biome-ignore format: one line
  const canvas = useRef<HTMLCanvasElement>(null)
  const theme = useTheme()
  const births = lines.flatMap(({ level, ancestors }) => (Array.isArray(ancestors) ? [{ level: Number(level), parents: ancestors as number[] }] : [])) // biome-ignore format: one line
  const now = Number(lines.at(-1)?.level ?? 0)
  const unknown = lines.some(({ resampled, ancestors }) => resampled && !ancestors)

  useEffect(() => {
    const element = canvas.current
    if (!element) return
    const paint = () => {
      const scale = window.devicePixelRatio || 1
      const [width, height] = [element.clientWidth, element.clientHeight]
      element.width = width * scale
      element.height = height * scale
      const draw = element.getContext('2d')!
      draw.scale(scale, scale)
      drawn(draw, { width, height, births, particles, lastLevel, now })
    }
    paint()
    const observer = new ResizeObserver(paint)
    observer.observe(element)
    return () => observer.disconnect()
  }, [lines, theme])

  if (unknown || particles < 2) return null
  return (
    <figure class="card genealogy">
      <figcaption>
        Genealogy{name && ` of ${name}`}
        <span class="hint">
          {births.length} resampling{births.length === 1 ? '' : 's'}
        </span>
      </figcaption>
      <canvas ref={canvas} role="img" aria-label={`the lines of ${particles} particles through ${now} levels`} />
    </figure>
  )
}

interface Tree {
  width: number
  height: number
  births: readonly { level: number; parents: readonly number[] }[]
  particles: number
  lastLevel: number
  now: number
}

function drawn(draw: CanvasRenderingContext2D, { width, height, births, particles: n, lastLevel, now }: Tree): void {
  const style = getComputedStyle(document.documentElement)
  const color = (name: string) => style.getPropertyValue(name).trim()
  const x = (level: number) => 4 + ((width - 8) * level) / Math.max(1, lastLevel)
  const y = (place: number) => 6 + ((height - 12) * place) / (n - 1)
  // particles stand in the order of their ancestors, so that lines never cross
  const places = [Array.from({ length: n }, (_, i) => i)]
  for (const { parents } of births) {
    const above = places.at(-1)!
    const order = parents.map((_, i) => i).sort((a, b) => above[parents[a]!]! - above[parents[b]!]! || a - b)
    const here = new Array<number>(n)
    order.forEach((i, place) => {
      here[i] = place
    })
    places.push(here)
  }
  const alive = [new Array<boolean>(n).fill(true)]
  for (const { parents } of [...births].reverse()) {
    const before = new Array<boolean>(n).fill(false)
    parents.forEach((parent, i) => {
      if (alive[0]![i]) before[parent] = true
    })
    alive.unshift(before)
  }
  draw.strokeStyle = color('--resampled')
  draw.setLineDash([2, 4])
  draw.lineWidth = 1
  for (const { level } of births) {
    draw.beginPath()
    draw.moveTo(x(level), 0)
    draw.lineTo(x(level), height)
    draw.stroke()
  }
  draw.setLineDash([])
  const every = Math.ceil(n / MOST_LINES)
  for (const living of [false, true]) {
    draw.strokeStyle = color(living ? '--series-1' : '--pale')
    draw.lineWidth = living ? Math.max(0.75, Math.min(1.75, (0.6 * height) / n)) : 0.75
    draw.globalAlpha = living ? 0.8 : 0.7
    draw.beginPath()
    for (let g = 0; g <= births.length; g++) {
      const [birth, death] = [births[g - 1], births[g]?.level ?? now]
      for (let i = 0; i < n; i++) {
        const place = places[g]![i]!
        if (alive[g]![i] !== living || place % every !== 0) continue
        const settled = birth ? Math.min(birth.level + Math.max(1, lastLevel / 64), death) : 0
        if (birth) {
          const from = y(places[g - 1]![birth.parents[i]!]!)
          const middle = (x(birth.level) + x(settled)) / 2
          draw.moveTo(x(birth.level), from)
          draw.bezierCurveTo(middle, from, middle, y(place), x(settled), y(place))
        } else draw.moveTo(x(0), y(place))
        draw.lineTo(x(death), y(place))
      }
    }
    draw.stroke()
  }
  draw.globalAlpha = 1
}
