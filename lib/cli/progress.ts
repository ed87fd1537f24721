import cliProgress from 'cli-progress'
import { noted, wrapped } from './notes.js'
import { speaks } from './ranks.js'

/** Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere. */
export interface Progress {
  update(done: number, text: string): void
  /** A line of its own, above the bar. */
  note(line: string): void
  end(): void
}

const LINE_EVERY_MS = 5000

export function progress(total: number, start = 0, unit: 'count' | '%' = 'count'): Progress {
  if (!speaks) return { update: () => {}, note: () => {}, end: () => {} }
  return process.stderr.isTTY ? bar(total, start) : lines(total, start, unit)
}

function bar(total: number, start: number): Progress {
  const bars = new cliProgress.MultiBar(
    {
      format: '{bar} {percentage}% | {text}',
      stream: process.stderr,
      hideCursor: false,
      gracefulExit: false,
      fps: 5,
    },
    cliProgress.Presets.shades_classic,
  )
  const one = bars.create(total, start, { text: '' })
  const left = remaining(total, start)
  return {
    update: (done, text) => one.update(done, { text: [text, left(done)].filter(Boolean).join(' | ') }),
    note: (line) => {
      noted(line)
      bars.log(`${wrapped(line)}\n`)
    },
    end: () => bars.stop(),
  }
}

function lines(total: number, start: number, unit: 'count' | '%'): Progress {
  const left = remaining(total, start)
  let last = -Infinity
  return {
    update(done, text) {
      const now = performance.now()
      const eta = left(done)
      if (now - last < LINE_EVERY_MS && done < total) return
      last = now
      const at = unit === '%' ? `${Math.floor((100 * done) / total)} %` : `${done}/${total}`
      process.stderr.write(`${at} ${text}${eta && `, ${eta}`}\n`)
    },
    note: (line) => void process.stderr.write(`${line}\n`),
    end: () => {},
  }
}

/** 'ETA 3 s' by the mean speed since the start; nothing before there is one. */
function remaining(total: number, start: number): (done: number) => string {
  const began = performance.now()
  return (done) => {
    const rate = (done - start) / (performance.now() - began)
    return rate > 0 ? `ETA ${duration((total - done) / rate)}` : ''
  }
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}
