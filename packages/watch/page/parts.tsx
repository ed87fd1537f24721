import type { Run } from './runs.js'

/** Parts that both kinds of runs have. */

export const stateWords = { running: 'running', done: 'done', stopped: 'stopped' } as const

export function Tiles({ run, all }: { run: Run; all: readonly (readonly [string, string])[] }) {
  return (
    <section class="tiles card" aria-label="where the run is">
      <div
        class={`bar ${run.state}`}
        role="progressbar"
        aria-valuenow={Math.round(100 * run.done)}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-label="done"
      >
        {' '}
        {/* biome-ignore format: one line */}
        <div style={{ width: `${100 * run.done}%` }} />
      </div>
      <dl>
        {all.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}

/** What went wrong, in the run's own words. */
export function Notices({ all, name }: { all: readonly string[]; name: string | undefined }) {
  if (all.length === 0) return null
  return (
    <ul class="notices">
      {all.map((text) => (
        <li key={text}>
          {name && <b>{name}: </b>}
          {text}
        </li>
      ))}
    </ul>
  )
}

/** A small line of what the list tells. */
export function Spark({ values, color }: { values: readonly number[]; color: string }) {
  if (values.length < 2) return <svg class="spark" viewBox="0 0 60 20" aria-hidden="true" />
  const [low, high] = [Math.min(...values), Math.max(...values)]
  const points = values.map((v, i) => `${((58 * i) / (values.length - 1) + 1).toFixed(1)},${(18 - (16 * (v - low)) / (high - low || 1)).toFixed(1)}`) // biome-ignore format: one line
  return (
    <svg class="spark" viewBox="0 0 60 20" aria-hidden="true">
      <polyline points={points.join(' ')} fill="none" stroke={color} stroke-width="1.5" stroke-linejoin="round" />
    </svg>
  )
}
