import { Notices, Tiles } from './parts.js'
import { Plot, type Series } from './plot.js'
import { Previews } from './previews.js'
import { type Line, type Log, numberOf, type Run } from './runs.js'
import { lasting, short } from './words.js'

/** Training runs, one or several side by side. */

export interface Shown {
  run: Run
  log: Log
  color: string
}

const BINS = 10
/** From the least noise to the most. */
const binColor = (bin: number) => `oklch(0.64 0.15 ${(280 + (130 * bin) / (BINS - 1)) % 360})`

export function Training({ shown }: { shown: readonly Shown[] }) {
  const one = shown.length === 1 ? shown[0] : undefined
  const steps = ({ log }: Shown) => log.lines.filter(({ loss }) => loss !== undefined)
  const points = (lines: readonly Line[], name: string) =>
    lines.flatMap((line): [number, number][] => {
      const [x, y] = [numberOf(line, 'images'), numberOf(line, name)]
      return x === null || y === null ? [] : [[x, y]]
    })
  const each = (name: string, style: Partial<Series> = {}): Series[] =>
    shown.map((item) => ({
      label: one ? (style.label ?? name) : item.run.name,
      color: item.color,
      points: points(steps(item), name),
      ...(!one && { label: item.run.name }),
    }))
  const loss: Series[] = shown.flatMap((item) => {
    const lines = steps(item)
    const held = points(lines, 'heldOutLoss')
    const label = one ? '' : `${item.run.name}, `
    return [
      ...(one ? [{ label: 'step', color: item.color, points: points(lines, 'loss'), faint: true }] : []),
      { label: one ? 'running median' : item.run.name, color: item.color, points: points(lines, 'median') },
      ...(held.length > 0
        ? [{ label: `${label}held out`, color: one ? 'var(--series-2)' : item.color, points: held, dashed: true, dots: true }] // biome-ignore format: one line
        : []),
    ]
  })
  const sync = 'training'
  return (
    <>
      {one && <Summary {...one} />}
      {shown.map(({ run, log }) => (
        <Notices key={run.id} name={one ? undefined : run.name} all={log.lines.flatMap(({ diverged }) => (diverged ? [String(diverged)] : []))} /> // biome-ignore format: one line
      ))}
      <div class="grid">
        <div class="charts">
          <Plot title="Loss" x="images" series={loss} log sync={sync} height={240} />
          {one ? (
            <LossByNoise lines={steps(one)} options={one.log.lines[0]?.options} sync={sync} />
          ) : (
            <LossAtLast shown={shown} />
          )}
          <div class="pair">
            <Plot
              title="Gradient norm"
              x="images"
              series={each('gradNorm', { label: 'norm' })}
              log
              sync={sync}
              height={150}
            />
            <Plot
              title="Speed"
              hint="images/s"
              x="images"
              series={each('imagesPerSecond', { label: 'images/s' })}
              sync={sync}
              height={150}
            />
          </div>
          <Plot title="Learning rate" x="images" series={each('lr', { label: 'rate' })} sync={sync} height={120} />
        </div>
        <div class="side">
          {shown.map(({ run, log, color }) => (
            <Previews
              key={run.id}
              run={run}
              log={log}
              color={one ? undefined : color}
              title={one ? 'Samples of the averaged weights' : run.name}
              at={({ images }) => `after ${short(Number(images), 4)} images`}
            />
          ))}
          {shown.every(({ log }) => !log.lines.some(({ preview }) => preview)) && (
            <p class="card empty">
              No previews yet. They are drawn where they cost a fiftieth of the run at most;{' '}
              <code>--preview-every 2k</code> asks for them.
            </p>
          )}
        </div>
      </div>
    </>
  )
}

function Summary({ run, log }: Shown) {
  const last = log.lines.findLast(({ loss }) => loss !== undefined)
  const [images, total, rate] = ['images', 'totalImages', 'imagesPerSecond'].map((name) => numberOf(last, name))
  const held = log.lines.findLast(({ heldOutLoss }) => heldOutLoss !== undefined)
  const left = images === null || !total || !rate ? null : (total - images) / rate
  return (
    <Tiles
      run={run}
      all={[
        ['images', images === null ? '–' : `${short(images)} of ${short(total)}`],
        run.state === 'running' ? ['time left', lasting(left)] : ['took', lasting((run.updated - run.started) / 1000)],
        ['images/s', short(rate)],
        ['loss', short(numberOf(last, 'median'), 4)],
        ['held out', short(numberOf(held, 'heldOutLoss'), 4)],
        ['gradient norm', short(numberOf(last, 'gradNorm'))],
        ['learning rate', short(numberOf(last, 'lr'))],
      ]}
    />
  )
}

/** Edges of the bins of ln sigma (lib/training/watch.ts). */
function sigmaOf(bin: number, options: unknown): number {
  const { pMean = -1.2, pStd = 1.2 } = (options ?? {}) as { pMean?: number; pStd?: number }
  return Math.exp(pMean + (bin + 0.5 - BINS / 2) * (pStd / 2))
}

function LossByNoise({ lines, options, sync }: { lines: readonly Line[]; options: unknown; sync: string }) {
  if (!lines.some(({ binLosses }) => binLosses)) return null
  const series = Array.from({ length: BINS }, (_, bin): Series => {
    let mean: number | null = null
    return {
      label: `σ ${short(sigmaOf(bin, options), 2)}`,
      color: binColor(bin),
      points: lines.flatMap(({ images, binLosses }): [number, number][] => {
        const value = (binLosses as (number | null)[] | undefined)?.[bin] ?? null
        if (value === null || !(value > 0)) return []
        mean = mean === null ? value : Math.exp(0.7 * Math.log(mean) + 0.3 * Math.log(value))
        return [[Number(images), mean]]
      }),
    }
  })
  return <Plot title="Loss by noise level" hint="smoothed; violet: least noise, orange: most" x="images" series={series} log sync={sync} height={240} /> // biome-ignore format: one line
}

/** Of several runs: the loss over noise at the end so far. */
function LossAtLast({ shown }: { shown: readonly Shown[] }) {
  const series = shown.map(({ run, log, color }): Series => {
    const few = log.lines.filter(({ binLosses }) => binLosses).slice(-8)
    const options = log.lines[0]?.options
    return {
      label: run.name,
      color,
      dots: true,
      points: Array.from({ length: BINS }, (_, bin): [number, number | null] => {
        const values = few.flatMap(({ binLosses }) => (binLosses as (number | null)[])[bin] ?? [])
        return [
          Math.log10(sigmaOf(bin, options)),
          values.length > 0 ? values.reduce((a, b) => a + b) / values.length : null,
        ]
      }),
    }
  })
  if (!series.some(({ points }) => points.some(([, y]) => y !== null))) return null
  return (
    <Plot
      title="Loss by noise level"
      hint="mean of the last eight lines"
      x="log₁₀ σ"
      series={series}
      log
      height={240}
    />
  )
}
