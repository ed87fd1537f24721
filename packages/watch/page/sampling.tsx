import { Frame, onlyOne, pointsOf, seriesOf } from './frame.js'
import { Genealogy } from './genealogy.js'
import { Tiles } from './parts.js'
import { Plot } from './plot.js'
import { type Line, numberOf, pictureOf, type Shown } from './runs.js'
import { lasting, percent, short } from './words.js'

/** Runs of `sample`: sequential Monte Carlo level by level, Markov chains, and samplers without weights. */

const levelsOf = ({ log }: Shown) => log.lines.filter(({ level }) => level !== undefined)
const aboutOf = ({ log }: Shown) => ({
  particles: Number(log.lines[0]?.particles ?? 1),
  lastLevel: Number(log.lines[0]?.lastLevel ?? 1),
})

export function Sampling({ shown }: { shown: readonly Shown[] }) {
  const one = onlyOne(shown)
  const has = (name: string) => shown.some((item) => levelsOf(item).some((line) => numberOf(line, name) !== null))
  const weighted = has('ess')
  const of = (name: string) => (item: Shown) => pointsOf(levelsOf(item), 'level', name)
  const share = (name: string) => (item: Shown) =>
    pointsOf(levelsOf(item), 'level', name, (value) => value / aboutOf(item).particles)
  const dashed = { dashed: true, ...(one && { color: 'var(--series-3)' }) }
  const xRange = [0, Math.max(...shown.map((item) => aboutOf(item).lastLevel))] as const
  const common = { x: 'level', xRange, sync: 'sampling' }
  const small = { ...common, height: 150 }
  return (
    <Frame
      shown={shown}
      summary={Summary}
      troubleOf={troubleOf}
      title="Particles"
      at={({ level, sigma }) => `level ${level}, σ ${short(Number(sigma))}`}
      beside={shown.map((item) => <Drawn key={item.run.id} {...item} several={!one} />)}
    >
      {weighted && (
        <Plot
          {...common}
          title="Effective sample size"
          hint="share of the particles; dashed: of the step alone (conditional)"
          range={[0, 1.02]}
          format={percent}
          height={220}
          series={[
            ...seriesOf(shown, 'ESS', share('ess')),
            ...seriesOf(shown, 'conditional', share('conditionalEss'), dashed),
          ]}
        />
      )}
      {weighted &&
        shown.map((item) => (
          <Genealogy
            key={item.run.id}
            lines={levelsOf(item)}
            {...aboutOf(item)}
            name={one ? undefined : item.run.name}
          />
        ))}
      <div class="pair">
        {weighted && (
          <Plot
            {...small}
            title="Roots"
            hint="initial particles with descendants"
            series={seriesOf(shown, 'roots', of('distinctRoots'))}
          />
        )}{' '}
        {/* biome-ignore format: one line */}
        {has('meanEnergy') && (
          <Plot
            {...small}
            title="Energy"
            hint={weighted ? 'weighted mean of U' : 'mean of U'}
            series={seriesOf(shown, 'mean U', of('meanEnergy'))}
          />
        )}{' '}
        {/* biome-ignore format: one line */}
        {has('acceptance') && (
          <Plot
            {...small}
            title="Acceptance"
            hint="of the moves"
            range={[0, 1.02]}
            format={percent}
            series={seriesOf(shown, 'accepted', of('acceptance'))}
          />
        )}{' '}
        {/* biome-ignore format: one line */}
        {has('logZ') && <Plot {...small} title="log Z" series={seriesOf(shown, 'log Z', of('logZ'))} />}
        <Plot
          {...small}
          title="Noise level"
          hint="σ"
          log
          series={seriesOf(shown, 'σ', (item) => of('sigma')(item).filter(([, y]) => y > 0))}
        />{' '}
        {/* biome-ignore format: one line */}
      </div>
    </Frame>
  )
}

/** What was drawn in the end. */
function Drawn({ run, log, color, several }: Shown & { several: boolean }) {
  if (!log.pictures.includes('samples.png')) return null
  return (
    <figure class="card previews">
      <figcaption>
        {several && <i class="swatch" style={{ background: color }} />}
        Samples <span class="hint">drawn by their weights</span>
      </figcaption>
      <img src={`${pictureOf(run, 'samples.png')}&lines=${run.lines}`} alt="samples" />
    </figure>
  )
}

function Summary({ run, log }: Shown) {
  const first = log.lines[0]
  const last = log.lines.findLast(({ level }) => level !== undefined)
  const n = Number(first?.particles ?? 1)
  const [level, lastLevel] = [numberOf(last, 'level') ?? 0, Number(first?.lastLevel ?? 1)]
  const seconds = (run.updated - run.started) / 1000
  const shares = log.lines.flatMap(({ conditionalEss }) =>
    typeof conditionalEss === 'number' ? [conditionalEss / n] : [],
  )
  const error = numberOf(last, 'logZError')
  const weighted = numberOf(last, 'ess') !== null
  return (
    <Tiles
      run={run}
      all={[
        ['level', `${level} of ${lastLevel}`],
        run.state === 'running' ? ['time left', lasting(level > 0 ? (seconds * (lastLevel - level)) / level : null)] : ['took', lasting(seconds)], // biome-ignore format: one line
        ['particles', short(n, 6)],
        ['noise level', short(numberOf(last, 'sigma'))],
        ...(weighted
          ? ([
              ['ESS', percent((numberOf(last, 'ess') ?? 0) / n)],
              ['worst step', percent(shares.length > 0 ? Math.min(...shares) : null)],
              ['roots', `${numberOf(last, 'distinctRoots') ?? '–'}`],
              ['log Z', `${short(numberOf(last, 'logZ'), 4)}${error === null ? '' : ` ± ${short(error, 2)}`}`],
            ] as [string, string][])
          : []),
        ['method', String(first?.method ?? '–')],
      ]}
    />
  )
}

function troubleOf(lines: readonly Line[]): string[] {
  const last = lines.at(-1)
  const summary = last?.summary as { collapsed?: boolean; note?: string } | undefined
  const warnings = lines.flatMap(({ level, warning }) => (warning ? [`level ${level}: ${warning}`] : []))
  return [...(last?.failed ? [`failed: ${last.failed}`] : []), ...(summary?.note ? [summary.note] : []), ...warnings]
}
