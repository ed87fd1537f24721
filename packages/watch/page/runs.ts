import { useEffect, useRef, useState } from 'preact/hooks'
import type { Run } from '../dist/runs.js'

/** What the server tells: the list of runs by events, and the lines of those that are looked at. */

export type { Run }

export type Line = Record<string, unknown>

export interface Log {
  epoch: number
  lines: Line[]
  /** Pictures of the result; those of the lines are named there. */
  pictures: string[]
}

/** A run that is shown, in its colour. */
export interface Shown {
  run: Run
  log: Log
  color: string
}

export interface Watched {
  runs: Run[]
  folders: string[]
  logs: Record<string, Log>
  connected: boolean
}

/** Follows all runs, and the lines of those that are `chosen`. */
export function useRuns(chosen: readonly string[]): Watched {
  const [runs, setRuns] = useState<Run[]>([])
  const [folders, setFolders] = useState<string[]>([])
  const [connected, setConnected] = useState(false)
  const [logs, setLogs] = useState<Record<string, Log>>({})
  const asking = useRef(new Set<string>())

  useEffect(() => {
    fetch('api/runs').then(async (answer) => {
      const told = await answer.json()
      setFolders(told.folders)
      setRuns(told.runs)
    }, () => {}) // biome-ignore format: the failure is told by the events
    const events = new EventSource('api/events')
    events.addEventListener('open', () => setConnected(true))
    events.addEventListener('error', () => setConnected(false))
    events.addEventListener('runs', (event) => setRuns(JSON.parse((event as MessageEvent<string>).data)))
    return () => events.close()
  }, [])

  useEffect(() => {
    for (const id of chosen) {
      const run = runs.find((other) => other.id === id)
      const have = logs[id]
      if (!run || asking.current.has(id) || (have && have.epoch === run.epoch && have.lines.length >= run.lines))
        continue
      const from = have?.epoch === run.epoch ? have.lines.length : 0
      asking.current.add(id)
      void more(id, from, have?.lines ?? []).then((log) => {
        asking.current.delete(id)
        if (log) setLogs((all) => ({ ...all, [id]: log }))
      })
    }
  }, [runs, chosen, logs])
  return { runs, folders, logs, connected }
}

async function more(id: string, from: number, before: readonly Line[]): Promise<Log | undefined> {
  try {
    const answer = await fetch(`api/lines?run=${encodeURIComponent(id)}&from=${from}`)
    if (!answer.ok) return undefined
    const { epoch, lines, pictures } = await answer.json()
    return { epoch, lines: [...before.slice(0, from), ...lines], pictures }
  } catch {
    return undefined
  }
}

export const pictureOf = (run: Run, name: string) =>
  `api/picture?run=${encodeURIComponent(run.id)}&name=${encodeURIComponent(name)}&at=${run.epoch}`

/** A number of a line; null where there is none. */
export const numberOf = (line: Line | undefined, name: string): number | null =>
  typeof line?.[name] === 'number' ? (line[name] as number) : null
