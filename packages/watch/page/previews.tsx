import { useEffect, useRef, useState } from 'preact/hooks'
import { type Log, pictureOf, type Run } from './runs.js'
import { useTheme } from './theme.js'

/** Previews of a run, one at a time: the newest, until another is chosen. */

type Points = [number, number][]
interface Shown {
  at: string
  preview: string | Points
}

/** at: the words for a line's place. */
export function Previews({
  run,
  log,
  title,
  color,
  at,
}: {
  run: Run
  log: Log
  title: string
  /** Of a run among several. */
  color?: string | undefined
  at: (line: Record<string, unknown>) => string
}) {
  // biome-ignore format: one line
  const all: Shown[] = log.lines.flatMap((line) =>
    line.preview ? [{ at: at(line), preview: line.preview as string | Points }] : [],
  )
  const [chosen, setChosen] = useState<number | null>(null)
  const [playing, setPlaying] = useState(false)
  const last = all.length - 1
  const index = Math.min(chosen ?? last, last)
  useEffect(() => {
    if (!playing) return
    const timer = setTimeout(() => {
      if (index < last) setChosen(index + 1)
      else {
        setPlaying(false)
        setChosen(null)
      }
    }, 220)
    return () => clearTimeout(timer)
  }, [playing, index, last])
  if (last < 0) return null
  const { preview, at: when } = all[index]!
  return (
    <figure class="card previews">
      <figcaption>
        {color && <i class="swatch" style={{ background: color }} />}
        {title} <span class="hint">{when}</span>
      </figcaption>
      {typeof preview === 'string' ? (
        <img src={pictureOf(run, preview)} alt={`${title}, ${when}`} />
      ) : (
        <Scatter points={preview} label={`${title}, ${when}`} square={squareOf(all, index)} />
      )}
      {last > 0 && (
        <div class="scrub">
          <button
            type="button"
            aria-label={playing ? 'stop' : 'play from the start'}
            onClick={() => {
              setChosen(playing ? index : 0)
              setPlaying(!playing)
            }}
          >
            {playing ? '■' : '▶'}
          </button>
          <input
            type="range"
            min={0}
            max={last}
            value={index}
            aria-label="which preview"
            onInput={({ currentTarget }) => {
              setPlaying(false)
              setChosen(Number(currentTarget.value) === last ? null : Number(currentTarget.value))
            }}
          />
          <span>
            {index + 1}/{last + 1}
          </span>
        </div>
      )}
    </figure>
  )
}

interface Square {
  x: number
  y: number
  half: number
}

/** The square that a frame's points lie in, but for few, and those that they end with: so that it does not shrink from frame to frame. */
function squareOf(all: readonly Shown[], index: number): Square {
  const both = [...(all[index]!.preview as Points), ...(all.at(-1)!.preview as Points)]
  const bounds = (axis: 0 | 1) => {
    const sorted = both.map((point) => point[axis]).sort((a, b) => a - b)
    const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))] ?? 0
    return { middle: (at(0.02) + at(0.98)) / 2, half: (at(0.98) - at(0.02)) / 2 }
  }
  const [x, y] = [bounds(0), bounds(1)]
  return { x: x.middle, y: y.middle, half: 1.2 * Math.max(x.half, y.half, 1e-9) }
}

function Scatter({ points, label, square }: { points: Points; label: string; square: Square }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const theme = useTheme()
  useEffect(() => {
    const side = 640
    const draw = canvas.current!.getContext('2d')!
    const style = getComputedStyle(document.documentElement)
    const color = (name: string) => style.getPropertyValue(name).trim()
    draw.clearRect(0, 0, side, side)
    draw.strokeStyle = color('--grid')
    draw.lineWidth = 2
    const across = (x: number) => (side / 2) * (1 + (x - square.x) / square.half)
    const down = (y: number) => (side / 2) * (1 - (y - square.y) / square.half)
    draw.beginPath() // the axes, where they are seen
    draw.moveTo(across(0), 0)
    draw.lineTo(across(0), side)
    draw.moveTo(0, down(0))
    draw.lineTo(side, down(0))
    draw.stroke()
    draw.fillStyle = color('--series-1')
    draw.globalAlpha = points.length > 128 ? 0.6 : 0.8
    for (const [x, y] of points) {
      draw.beginPath()
      draw.arc(across(x), down(y), 6, 0, 2 * Math.PI)
      draw.fill()
    }
    draw.globalAlpha = 1
  }, [points, square.x, square.y, square.half, theme])
  return <canvas ref={canvas} width={640} height={640} role="img" aria-label={label} />
}
