import { Frame, onlyOne, pointsOf, seriesOf } from './frame.js'
import { Tiles } from './parts.js'
import { LOG_SIGMA, Plot, type Series } from './plot.js'
import { type Line, numberOf, type Shown } from './runs.js'
import { lasting, short } from './words.js'

/** Training runs, one or several side by side. */

const BINS = 10
/** From the least noise to the most. */
const binColor = (bin: number) => `oklch(0.64 0.15 ${(280 + (130 * bin) / (BINS - 1)) % 360})`

const stepsOf = ({ log }: Shown) => log.lines.filter(({ loss }) => loss !== undefined)

export function Training({ shown }: { shown: readonly Shown[] }) {
  const one = onlyOne(shown)
  const of = (name: string) => (item: Shown) => pointsOf(stepsOf(item), 'images', name)
  const loss: Series[] = [
    ...(one ? seriesOf(shown, 'step', of('loss'), { faint: true }) : []),
    ...seriesOf(shown, 'running median', of('median')),
    ...seriesOf(shown, 'held out', of('heldOutLoss'), { ...(one && { color: 'var(--series-2)' }), dashed: true, dots: true }).filter(({ points }) => points.length > 0), // biome-ignore format: one line
  ]
  const common = { x: 'images', sync: 'training' }
  return (
    <Frame
      shown={shown}
      summary={Summary}
      troubleOf={(lines) => lines.flatMap(({ diverged }) => (diverged ? [String(diverged)] : []))}
      title={one && objectiveOf(one) === 'autoencoder' ? 'Images, and below what is made of them' : 'Samples of the averaged weights'} // biome-ignore format: one line
      at={({ images }) => `after ${short(Number(images), 4)} images`}
      beside={<NoPreviews shown={shown} />}
    >
      <Plot {...common} title="Loss" series={loss} log height={240} />
      {one ? (
        <LossByNoise lines={stepsOf(one)} options={one.log.lines[0]?.options} sync={common.sync} />
      ) : (
        <LossAtLast shown={shown} />
      )}
      <div class="pair">
        <Plot {...common} title="Gradient norm" series={seriesOf(shown, 'norm', of('gradNorm'))} log height={150} />
        <Plot
          {...common}
          title="Speed"
          hint="images/s"
          series={seriesOf(shown, 'images/s', of('imagesPerSecond'))}
          height={150}
        />{' '}
        {/* biome-ignore format: one line */}
      </div>
      <Plot {...common} title="Learning rate" series={seriesOf(shown, 'rate', of('lr'))} height={120} />
    </Frame>
  )
}

const objectiveOf = ({ log }: Shown) => (log.lines[0]?.options as { objective?: string } | undefined)?.objective

/** Why there is nothing to see. */
function NoPreviews({ shown }: { shown: readonly Shown[] }) {
  if (shown.some(({ log }) => log.lines.some(({ preview }) => preview))) return null
  if (shown.every((item) => objectiveOf(item) === 'classifier'))
    return <p class="card empty">A classifier draws nothing: it has no previews.</p>
  return (
    <p class="card empty">
      No previews yet. They are drawn where they cost a fiftieth of the run at most; <code>--preview-every 2k</code>{' '}
      asks for them.
    </p>
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
  const measured = series.filter(({ points }) => points.some(([, y]) => y !== null))
  if (measured.length === 0) return null
  return (
    <Plot
      title="Loss by noise level"
      hint="mean of the last eight lines"
      x={LOG_SIGMA}
      series={measured}
      log
      height={240}
    />
  )
}
