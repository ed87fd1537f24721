import { Genealogy } from './genealogy.js'
import { Notices, Tiles } from './parts.js'
import { Plot, type Series } from './plot.js'
import { Previews } from './previews.js'
import { type Line, numberOf, pictureOf } from './runs.js'
import type { Shown } from './training.js'
import { lasting, percent, short } from './words.js'

/** Runs of `sample`: sequential Monte Carlo level by level, and samplers without weights. */

export function Sampling({ shown }: { shown: readonly Shown[] }) {
  const one = shown.length === 1 ? shown[0] : undefined
  const levels = ({ log }: Shown) => log.lines.filter(({ level }) => level !== undefined)
  const about = ({ log }: Shown) => ({
    particles: Number(log.lines[0]?.particles ?? 1),
    lastLevel: Number(log.lines[0]?.lastLevel ?? 1),
  })
  const longest = Math.max(...shown.map((item) => about(item).lastLevel))
  const weighted = shown.some((item) => levels(item).some(({ ess }) => ess !== undefined))
  const points = (item: Shown, name: string, of = (value: number) => value) =>
    levels(item).flatMap((line): [number, number][] => {
      const y = numberOf(line, name)
      return y === null ? [] : [[Number(line.level), of(y)]]
    })
  const line = (item: Shown, name: string, label: string, color: string, own: Partial<Series> = {}, of?: (value: number) => number): Series => ({ label: one ? label : `${item.run.name}${own.dashed ? `, ${label}` : ''}`, color, points: points(item, name, of), ...own }) // biome-ignore format: one line
  const share = (item: Shown) => (value: number) => value / about(item).particles
  const common = { x: 'level', xRange: [0, longest] as const, sync: 'sampling' }
  return (
    <>
      {one && <Summary {...one} />}
      {shown.map((item) => (
        <Notices key={item.run.id} name={one ? undefined : item.run.name} all={troubleOf(item.log.lines)} />
      ))}
      <div class="grid">
        <div class="charts">
          {weighted && (
            <Plot
              {...common}
              title="Effective sample size"
              hint="share of the particles; dashed: of the step alone (conditional)"
              range={[0, 1.02]}
              format={percent}
              height={220}
              series={shown.flatMap((item) => [
                line(item, 'ess', 'ESS', item.color, {}, share(item)),
                line(item, 'conditionalEss', 'conditional', one ? 'var(--series-3)' : item.color, { dashed: true }, share(item)), // biome-ignore format: one line
              ])}
            />
          )}
          {weighted &&
            shown.map((item) => (
              <Genealogy
                key={item.run.id}
                lines={levels(item)}
                {...about(item)}
                name={one ? undefined : item.run.name}
              />
            ))}
          {weighted && (
            <div class="pair">
              <Plot
                {...common}
                title="Roots"
                hint="initial particles with descendants"
                height={150}
                series={shown.map((item) => line(item, 'distinctRoots', 'roots', item.color))}
              />
              <Plot
                {...common}
                title="Energy"
                hint="weighted mean of U"
                height={150}
                series={shown.map((item) => line(item, 'meanEnergy', 'mean U', item.color))}
              />
            </div>
          )}
          <div class="pair">
            {weighted && (
              <Plot
                {...common}
                title="log Z"
                height={150}
                series={shown.map((item) => line(item, 'logZ', 'log Z', item.color))}
              />
            )}
            <Plot
              {...common}
              title="Noise level"
              hint="σ"
              height={150}
              log
              series={shown.map((item) => ({ ...line(item, 'sigma', 'σ', item.color), points: points(item, 'sigma').filter(([, y]) => y > 0) }))} // biome-ignore format: one line
            />
          </div>
        </div>
        <div class="side">
          {shown.map(({ run, log, color }) => (
            <Previews
              key={run.id}
              run={run}
              log={log}
              color={one ? undefined : color}
              title={one ? 'Particles' : run.name}
              at={({ level, sigma }) => `level ${level}, σ ${short(Number(sigma))}`}
            />
          ))}
          {shown
            .filter(({ log }) => log.pictures.includes('samples.png'))
            .map(({ run, color }) => (
              <figure key={run.id} class="card previews">
                <figcaption>
                  {!one && <i class="swatch" style={{ background: color }} />}
                  Samples <span class="hint">drawn by their weights</span>
                </figcaption>
                <img src={`${pictureOf(run, 'samples.png')}&lines=${run.lines}`} alt="samples" />
              </figure>
            ))}
        </div>
      </div>
    </>
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
