/** What the parts of the demo share. */
export interface DemoContext {
  seed: number
  signal?: AbortSignal
  /** Folder of the runs, each in its own: trainings, of which a demo that was cut off goes on, and levels of SMC. */
  runs: string
  /** Folders of the trainings so far. */
  trained: string[]
  /** 1, or the share of the training that a quick run does. */
  shorter: number
  stage(name: string, done: number, total: number): void
}
