import { Worker } from 'node:worker_threads'
import { FileError } from '../base/errors.js'
import { fileError } from '../base/files.js'
import { loadPlotting } from '../base/optional.js'
import { FONT, svgPng } from './fonts.js'

/** Plots by Vega-Lite, drawn as PNG. */

type Spec = Parameters<typeof import('vega-lite').compile>[0]

/**
 * Vega takes a tenth of a second and more to load, and to lay a plot out: it works in a thread of its own, for all plots of a process. As
 * text, so that a bundle has it too.
 */
const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads')
const loaded = Promise.all([import(workerData.vegaLite), import(workerData.vega)])
parentPort.on('message', async ({ id, spec }) => {
  try {
    const [{ compile }, { parse, View }] = await loaded
    const view = new View(parse(compile(spec).spec), { renderer: 'none' })
    try {
      parentPort.postMessage({ id, svg: await view.toSVG() })
    } finally {
      view.finalize()
    }
  } catch (error) {
    const { message, code, syscall, path } = error // a message keeps of an error no more than its text
    parentPort.postMessage({ id, error: { message, code, syscall, path } })
  }
})
`

type Failure = Pick<NodeJS.ErrnoException, 'message' | 'code' | 'syscall' | 'path'>
type Answer = { id: number; svg: string } | { id: number; error: Failure }

class Plotter {
  readonly #waiting = new Map<number, { resolve(svg: string): void; reject(error: unknown): void }>()
  readonly #worker: Worker
  #count = 0

  constructor(packages: { vega: string; vegaLite: string }, ended: (plotter: Plotter) => void) {
    // not the flags of this process, which may have its own modules loaded into every thread
    this.#worker = new Worker(PROGRAM, { eval: true, execArgv: [], workerData: packages })
    this.#worker.unref()
    this.#worker.on('message', (answer: Answer) => {
      const { resolve, reject } = this.#waiting.get(answer.id)!
      this.#waiting.delete(answer.id)
      if (this.#waiting.size === 0) this.#worker.unref()
      if ('svg' in answer) resolve(answer.svg)
      else reject(Object.assign(new Error(answer.error.message), answer.error))
    })
    const end = (error: unknown) => {
      ended(this)
      for (const { reject } of this.#waiting.values()) reject(error)
      this.#waiting.clear()
    }
    this.#worker.on('error', end)
    this.#worker.on('exit', () => end(new Error('the thread that draws plots has ended')))
  }

  svg(spec: Spec): Promise<string> {
    const id = this.#count++
    return new Promise((resolve, reject) => {
      this.#worker.postMessage({ id, spec })
      this.#waiting.set(id, { resolve, reject })
      this.#worker.ref() // the process does not end before its plots are drawn
    })
  }
}

let plotter: Plotter | undefined

/** PNG of a Vega-Lite specification at twice its size in points. Throws MissingPackageError. */
export async function plotPng(spec: Spec): Promise<Buffer> {
  const packages = await loadPlotting()
  plotter ??= new Plotter(packages, (ended) => {
    if (plotter === ended) plotter = undefined
  })
  const config = { font: FONT, background: 'white', ...spec.config }
  return svgPng(await plotter.svg({ ...spec, config }).catch(understood))
}

/** A thread asks for the current folder when it starts, and opens some hundred files of packages. */
function understood(error: unknown): never {
  const { message, path = '.' } = error as NodeJS.ErrnoException
  if (!/uv_cwd/.test(message)) throw fileError(error, path, 'read')
  throw new FileError('cannot draw a plot: the current folder is gone: change to one that is there', '.', {
    cause: error,
  })
}
