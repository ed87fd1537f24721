import { render } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import 'uplot/dist/uPlot.min.css'
import './style.css'
import { Options } from './options.js'
import { Spark, stateWords } from './parts.js'
import { Report } from './report.js'
import { type Run, useRuns } from './runs.js'
import { Sampling } from './sampling.js'
import { nextTheme, useTheme } from './theme.js'
import { Training } from './training.js'
import { ago } from './words.js'

/** The page: the list of runs, and what is shown of those that are chosen. */

const COLORS = 8
const colorOf = (place: number) => `var(--series-${(place % COLORS) + 1})`

/** What is shown: the runs that were chosen, which are in the address so that it can be kept, or whichever goes on (null). */
function useChosen(): [string[] | null, (ids: string[] | null) => void] {
  const read = () => {
    const ids = location.hash.slice(1).split(',').filter(Boolean).map(decodeURIComponent)
    return ids.length > 0 ? ids : null
  }
  const [chosen, setChosen] = useState(read)
  useEffect(() => {
    const changed = () => setChosen(read())
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return [
    chosen,
    (ids) => {
      history.replaceState(null, '', ids ? `#${ids.map(encodeURIComponent).join(',')}` : location.pathname)
      setChosen(ids)
    },
  ]
}

function App() {
  const [wanted, setChosen] = useChosen()
  const [followed, setFollowed] = useState<string[]>([])
  const chosen = wanted ?? followed
  const { runs, folders, logs, connected } = useRuns(chosen)
  const theme = useTheme()
  const [now, setNow] = useState(Date.now())
  const help = useRef<HTMLDialogElement>(null)
  const list = useRef<HTMLUListElement>(null)

  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 5000)
    return () => clearInterval(timer)
  }, [])
  useEffect(() => {
    if (wanted && runs.length > 0 && !runs.some(({ id }) => wanted.includes(id))) setChosen(null)
    // the first goes on, or is the last that began
    const shown = runs.find(({ id }) => followed.includes(id))
    if (runs[0] && runs[0] !== shown && shown?.state !== 'running') setFollowed([runs[0].id])
  }, [runs, wanted])

  const only = (id: string) => setChosen([id])
  const toggle = (id: string) => {
    const rest = chosen.filter((other) => other !== id)
    if (rest.length > 0 || !chosen.includes(id)) setChosen(rest.length < chosen.length ? rest : [...chosen, id])
  }
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return
      if (event.target instanceof HTMLInputElement && event.target.type === 'range') return
      const buttons = [...(list.current?.querySelectorAll<HTMLButtonElement>('button.run') ?? [])]
      const at = buttons.indexOf(document.activeElement as HTMLButtonElement)
      const shown = at >= 0 ? at : runs.findIndex(({ id }) => id === chosen.at(-1))
      const go = (to: number) => {
        const button = buttons[Math.max(0, Math.min(buttons.length - 1, to))]
        button?.focus()
        if (button) only(button.dataset.id!)
        event.preventDefault()
      }
      if (event.key === 'j' || event.key === 'ArrowDown') go(shown + 1)
      else if (event.key === 'k' || event.key === 'ArrowUp') go(shown - 1)
      else if (event.key === 'n' || event.key === 'p') {
        buttons[Math.max(0, Math.min(buttons.length - 1, shown + (event.key === 'n' ? 1 : -1)))]?.focus()
      } else if (event.key === 'x' && runs[shown]) toggle(runs[shown]!.id)
      else if (event.key === 'f') setChosen(null)
      else if (event.key === 't') nextTheme()
      else if (event.key === '?') help.current?.showModal()
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  })

  const shown = useMemo(
    () =>
      chosen.flatMap((id, i) => {
        const run = runs.find((other) => other.id === id)
        return run && logs[id] ? [{ run, log: logs[id]!, color: colorOf(i) }] : []
      }),
    [chosen, runs, logs],
  )
  const training = shown.filter(({ run }) => run.kind === 'training')
  const sampling = shown.filter(({ run }) => run.kind === 'sampling')
  const reports = shown.filter(({ run }) => run.kind === 'report')
  const live = runs.filter(({ state }) => state === 'running').length
  return (
    <>
      <header>
        <h1>
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <g fill="none" stroke="currentColor" stroke-width="2.5" stroke-linecap="round">
              <path d="M4 7c10 0 8 9 24 9" />
              <path d="M4 16h24" />
              <path d="M4 25c10 0 8-9 24-9" opacity=".5" />
            </g>
          </svg>
          feynkac <span>watch</span>
        </h1>
        <p class="folders" title={folders.join('\n')}>
          {folders.join(' · ')}
        </p>
        <p class={`connection ${connected ? 'on' : 'off'}`} role="status">
          {connected ? (live > 0 ? `${live} running` : 'nothing running') : 'not connected'}
        </p>
        {runs.length > 1 && (
          <button
            type="button"
            class="quiet"
            aria-pressed={wanted === null}
            onClick={() => setChosen(null)}
            title="show whichever run goes on (f)"
          >
            {wanted === null ? 'following' : 'follow'}
          </button>
        )}
        <button type="button" class="quiet" onClick={nextTheme} title="light, dark, or as the system (t)">
          {theme.split(' ')[0]}
        </button>
        <button type="button" class="quiet" onClick={() => help.current?.showModal()} aria-label="keys">
          ?
        </button>
      </header>
      <div class="body">
        <nav aria-label="runs">
          <ul ref={list}>
            {runs.map((run) => (
              <Item
                key={run.id}
                run={run}
                place={chosen.indexOf(run.id)}
                several={chosen.length > 1}
                now={now}
                onOnly={only}
                onToggle={toggle}
              />
            ))}
          </ul>
        </nav>
        <main>
          {runs.length === 0 && (
            <div class="card empty">
              <h2>No runs yet</h2>
              <p>
                This page shows them as soon as there are: <code>feynkac train</code>, <code>distill</code>,{' '}
                <code>fit</code>, <code>sample</code>, <code>demo</code> and <code>experiment</code> with{' '}
                <code>--output</code> in a folder that is watched.
              </p>
            </div>
          )}
          {shown.length > 0 && <h2 class="title">{shown.map(({ run }) => run.name).join(' · ')}</h2>}
          {training.length > 0 && (
            <Training key={`t${training.length === 1 ? training[0]!.run.id : ''}`} shown={training} />
          )}
          {sampling.length > 0 && (
            <Sampling key={`s${sampling.length === 1 ? sampling[0]!.run.id : ''}`} shown={sampling} />
          )}
          {reports.length > 0 && <Report shown={reports} />}
          {shown.length > 0 && (
            <Options runs={shown.map(({ run }) => run)} firsts={shown.map(({ log }) => log.lines[0])} />
          )}
        </main>
      </div>
      <dialog ref={help}>
        <h2>Keys</h2>
        <dl class="keys">
          <dt>j k</dt>
          <dd>the next run, the one before</dd>
          <dt>n p</dt>
          <dd>go to the next, the one before, and leave what is shown</dd>
          <dt>x</dt>
          <dd>show this run beside the others, or no more</dd>
          <dt>f</dt>
          <dd>follow: whichever run goes on</dd>
          <dt>t</dt>
          <dd>light, dark, or as the system has it</dd>
          <dt>drag</dt>
          <dd>over a plot: a part of it; twice clicked: all</dd>
        </dl>
        <form method="dialog">
          <button type="submit" class="quiet">
            close
          </button>
        </form>
      </dialog>
    </>
  )
}

interface ItemProps {
  run: Run
  /** Among those that are shown; -1: it is not. */
  place: number
  several: boolean
  now: number
  onOnly: (id: string) => void
  onToggle: (id: string) => void
}

function Item({ run, place, several, now, onOnly, onToggle }: ItemProps) {
  const color = place >= 0 ? colorOf(place) : 'var(--ink-3)'
  return (
    <li class={`${place >= 0 ? 'chosen' : ''} ${run.state}`} style={{ '--own': color }}>
      <input
        type="checkbox"
        checked={place >= 0}
        aria-label={`show ${run.name} beside the others`}
        title="side by side (x)"
        disabled={place >= 0 && !several}
        onInput={() => onToggle(run.id)}
      />
      <button type="button" class="run" data-id={run.id} aria-current={place >= 0} onClick={() => onOnly(run.id)}>
        <b title={run.name}>{run.name}</b>
        <Spark values={run.spark} color={color} />
        <small>
          <i class={run.state} />
          {run.state === 'running' ? `${(100 * run.done).toFixed(0)} %` : stateWords[run.state]} · {run.said}
          {run.state !== 'running' && ` · ${ago(run.updated, now)}`}
        </small>
      </button>
    </li>
  )
}

render(<App />, document.getElementById('app')!)
