import { type Progress, progress } from './progress.js'

/** Progress of work in stages: a bar for each. */
export function stageBars() {
  let shown: { name: string; bar: Progress } | undefined
  return {
    onStage(name: string, done: number, total: number): void {
      if (shown?.name !== name) {
        shown?.bar.end()
        shown = { name, bar: progress(total) }
      }
      shown.bar.update(done, name)
    },
    end(): void {
      shown?.bar.end()
    },
  }
}
