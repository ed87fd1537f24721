import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { useTheme } from './theme.js'
import { short } from './words.js'

/** Line plots, by uPlot. */

export interface Series {
  label: string
  /** A CSS colour, or a variable of the page's. */
  color: string
  /** [x, y] by x; y null: a gap. */
  points: readonly (readonly [number, number | null])[]
  /** Pale and thin: what the others are the mean of. */
  faint?: boolean
  dashed?: boolean
  dots?: boolean
}

/** The one axis that is not of whole numbers. */
export const LOG_SIGMA = 'log₁₀ σ'

export interface PlotProps {
  title: string
  hint?: string
  x: string
  series: readonly Series[]
  log?: boolean
  /** Bounds that do not follow the data. */
  range?: readonly [number, number]
  xRange?: readonly [number, number]
  format?: (value: number | null) => string
  sync?: string
  height?: number
}

export function Plot(props: PlotProps) {
  const { title, hint, series, height = 190 } = props
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const theme = useTheme()
  const data = joined(series)
  const identity = JSON.stringify([theme, title, props.range, props.xRange, props.log, series.map(({ points, ...style }) => style)]) // biome-ignore format: one line

  useEffect(() => {
    const element = place.current
    if (!element) return // gone before it was painted
    const width = () => Math.max(200, element.clientWidth)
    plot.current = new uPlot(optionsOf(props, width(), height), data, element)
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: width(), height }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      plot.current?.destroy()
    }
  }, [identity])
  useEffect(() => plot.current?.setData(data), [data])

  return (
    <figure class="card plot">
      <figcaption>
        {title}
        {hint && <span class="hint">{hint}</span>}
      </figcaption>
      <div ref={place} />
    </figure>
  )
}

/** All series over one axis. */
function joined(series: readonly Series[]): uPlot.AlignedData {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b)
  const columns = series.map(({ points }) => {
    const by = new Map(points)
    return xs.map((x) => by.get(x)) // undefined is no gap: another series is measured there
  })
  return [xs, ...columns] as uPlot.AlignedData
}

/** Of a logarithmic axis: the bound of a plot is not worth a number. */
function isRound(value: number): boolean {
  const digit = value / 10 ** Math.floor(Math.log10(value) + 1e-9)
  return Math.abs(digit - Math.round(digit)) < 1e-6 && [1, 2, 3, 5, 7].includes(Math.round(digit))
}

/** Steps, of images and levels. */
const wholeSteps = [1, 2, 5].flatMap((digit) => Array.from({ length: 12 }, (_, power) => digit * 10 ** power)).sort((a, b) => a - b) // biome-ignore format: one line

/** What a legend says of a series: where the cursor is, else its last value. */
function saidOf({ data, cursor }: uPlot, value: number | null, series: number): number | null {
  if (value !== null && value !== undefined) return value
  if (typeof cursor.idx === 'number' && (cursor.left ?? -1) >= 0) return null
  return [...data[series]!].findLast((one) => typeof one === 'number') ?? null
}

function resolved(color: string): string {
  const name = /^var\((--[\w-]+)\)$/.exec(color)?.[1]
  return name ? getComputedStyle(document.documentElement).getPropertyValue(name).trim() : color
}

function optionsOf(props: PlotProps, width: number, height: number): uPlot.Options {
  const { series, log, range, xRange, x, sync, format = (value) => short(value) } = props
  const [ink, line] = [resolved('var(--ink-2)'), resolved('var(--grid)')]
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' } // biome-ignore format: one line
  return {
    width,
    height,
    padding: [8, 14, 0, 0],
    scales: {
      x: { time: false, ...(xRange && { range: () => [...xRange] as [number, number] }) },
      y: {
        // whole decades, as uPlot has them, would leave most of a plot empty
        ...(log && { distr: 3 as const, range: (_: uPlot, low: number, high: number): [number, number] => low > 0 ? [low / 1.15, high * 1.15] : [0.1, 1] }), // biome-ignore format: one line
        ...(range && { range: () => [...range] as [number, number] }),
      },
    },
    axes: [
      {
        ...axis,
        size: 30,
        ...(x !== LOG_SIGMA && { incrs: wholeSteps }),
        values: (_, all) => all.map((value) => (value === null ? '' : short(value))),
      },
      { ...axis, size: 46, values: (_, all) => all.map((value) => (value === null || (log && !isRound(value)) ? '' : format(value))) }, // biome-ignore format: one line
    ],
    cursor: { y: false, points: { size: 6 }, ...(sync && { sync: { key: sync } }), drag: { x: true, y: false } },
    legend: { markers: { width: 0 } },
    series: [
      { label: x, value: (own, value) => short(saidOf(own, value, 0), 4) },
      ...series.map(({ label, color, faint, dashed, dots }) => ({
        label,
        stroke: resolved(color),
        width: faint ? 1 : 2,
        alpha: faint ? 0.35 : 1,
        spanGaps: true,
        ...(dashed && { dash: [5, 4] }),
        points: { show: dots ?? false, size: 6, fill: resolved(color) },
        value: (own: uPlot, value: number | null, i: number) => format(saidOf(own, value, i)),
      })),
    ],
    hooks: {
      // the legend names a series by its colour
      init: [
        (own) =>
          own.root.querySelectorAll<HTMLElement>('.u-series').forEach((row, i) => {
            const color = series[i - 1]?.color
            if (color) row.style.setProperty('--series', color)
          }),
      ],
    },
  }
}
