import cliProgress from 'cli-progress'

/** Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere. */
export interface Progress {
  update(done: number, text: string): void
  /** A line of its own, above the bar. */
  note(line: string): void
  end(): void
}

const lineEveryMs = 5000

export function progress(total: number, start = 0): Progress {
  return process.stderr.isTTY ? bar(total, start) : lines(total)
}

function bar(total: number, start: number): Progress {
  const bars = new cliProgress.MultiBar(
    {
      format: '{bar} {percentage}% | {text} | ETA {eta_formatted}',
      stream: process.stderr,
      hideCursor: false,
      gracefulExit: false,
      etaBuffer: 50,
      fps: 5,
    },
    cliProgress.Presets.shades_classic,
  )
  const one = bars.create(total, start, { text: '' })
  return {
    update: (done, text) => one.update(done, { text }),
    note: (line) => bars.log(`${line}\n`),
    end: () => bars.stop(),
  }
}

function lines(total: number): Progress {
  const began = performance.now()
  let first: { done: number; at: number } | undefined
  let last = -Infinity
  return {
    update(done, text) {
      const now = performance.now()
      first ??= { done, at: began }
      if (now - last < lineEveryMs && done < total) return
      last = now
      const rate = (done - first.done) / (now - first.at)
      const eta = rate > 0 ? `, ETA ${duration((total - done) / rate)}` : ''
      process.stderr.write(`${done}/${total} ${text}${eta}\n`)
    },
    note: (line) => void process.stderr.write(`${line}\n`),
    end: () => {},
  }
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}
