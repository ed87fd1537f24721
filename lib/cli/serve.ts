import { basename, dirname, extname } from 'node:path'
import type { Command } from 'commander'
import { ArgumentError, describe } from '../base/errors.js'
import { loadServing } from '../base/optional.js'
import type { Logger } from '../service/engine.js'
import { Interrupted, interruptible } from './interrupt.js'
import { applyThreads, type CommonOptions, common, count, deviceOf, number, repeated } from './options.js'
import { version } from './version.js'

/** The command `serve`: an engine over HTTP. */

interface Flags extends CommonOptions {
  host: string
  port: number
  apiKey?: string
  maxConcurrent?: number
  maxQueued?: number
  memoryLimit?: number
  maxParticles?: number
  maxSteps?: number
  maxSeconds?: number
  watch?: string[]
  quiet?: boolean
}

export function register(program: Command): void {
  const command = program
    .command('serve')
    .description('Serve samples of models and of compositions of them over HTTP. GET /openapi.json describes it.')
    .argument('<models...>', 'model files, or NAME=FILE; else a model is called as its file, or as its folder')
    .option('--host <address>', 'where to listen; 0.0.0.0 for other machines', '127.0.0.1')
    .option('--port <number>', 'port; 0: any that is free', count(0, 65535), 8000)
    .option('--api-key <text>', 'what clients must give (FEYNKAC_API_KEY of the environment; none)')
    .option('--max-concurrent <number>', 'requests that run at once (4)', count())
    .option('--max-queued <number>', 'requests that wait; more are refused (64)', count(0))
    .option(
      '--memory-limit <bytes>',
      'of the particles of all that runs, such as 500M (half of what is free)',
      number({ above: 0 }),
    )
    .option('--max-particles <number>', 'most particles of a request (1024)', count())
    .option('--max-steps <number>', 'most steps of a request (1000)', count())
    .option('--max-seconds <number>', 'most time of a request, waiting included (300)', number({ above: 0 }))
    .option('--watch <folder>', 'show the runs of a folder at /watch (repeat)', repeated(String))
    .option('--quiet', 'no log of requests on stderr')
  common(command, 'feynkac serve faces=runs/energy/model.safetensors --port 8000').action(
    async (files: string[], flags: Flags) => {
      await loadServing()
      await applyThreads(flags)
      const models = named(files)
      const { maxConcurrent, maxQueued, memoryLimit, maxParticles, maxSteps, maxSeconds, host, port, watch } = flags
      const limits = given({
        maxConcurrent,
        maxQueued,
        memoryLimit: memoryLimit && Math.floor(memoryLimit),
        maxParticles,
        maxSteps,
      })
      const apiKey = flags.apiKey ?? process.env.FEYNKAC_API_KEY
      const [{ Engine }, { serve }] = await Promise.all([import('../service/engine.js'), import('../service/http.js')])
      const engine = await Engine.create({
        models,
        ...deviceOf(flags),
        ...limits,
        ...(!flags.quiet && { logger: lines }),
      })
      const server = await serve(engine, {
        host,
        port,
        version: await version(),
        ...given({ apiKey, maxSeconds, watch }),
      })
      const names = Object.keys(models)
      if (flags.json) console.log(JSON.stringify({ url: server.url, models: names }))
      else console.log(`${names.join(', ')} at ${server.url}`)
      // until a signal; what was taken is then answered
      await interruptible(
        (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      ).catch(async (reason) => {
        await server.close()
        if (!(reason instanceof Interrupted)) throw reason
      })
    },
  )
}

function given<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never
}

/** Files by their names. Throws ArgumentError where two have the same. */
function named(files: readonly string[]): Record<string, string> {
  const models: Record<string, string> = {}
  for (const text of files) {
    const [, name, file] = /^([\w.-]+)=(.+)$/.exec(text) ?? [text, nameOf(text), text]
    if (Object.hasOwn(models, name!)) throw new ArgumentError(`two models are called ${describe(name)}: give NAME=FILE`)
    models[name!] = file!
  }
  return models
}

/** model.safetensors and the like are called as their folder, as training names them all the same. */
function nameOf(file: string): string {
  const name = basename(file, extname(file))
  const folder = basename(dirname(file))
  return name === 'model' && folder && folder !== '.' ? folder : name
}

/** Lines of JSON on stderr, as pino writes them. */
const line = (level: number) => (fields: object, msg: string) => {
  const { err, ...rest } = fields as { err?: Error }
  const said = { level, time: Date.now(), ...rest, ...(err && { err: { name: err.name, message: err.message } }), msg }
  process.stderr.write(`${JSON.stringify(said)}\n`)
}
const lines: Logger = { info: line(30), warn: line(40), error: line(50) }
