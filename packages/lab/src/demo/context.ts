/** What the parts of the demo share. */
export interface DemoContext {
  seed: number
  signal?: AbortSignal
  /** 1, or the share of the training that a quick run does. */
  shorter: number
  stage(name: string, done: number, total: number): void
}
