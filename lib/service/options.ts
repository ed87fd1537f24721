import { isList } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { positive, type Rows, text, whole } from '../base/option-table.js'

/** What a service takes on, and where it listens; apart from Fastify, so that declarations name no type of it. */

export interface EngineLimits {
  /** Requests that run at once; default 4. Calls of their models are merged, so that more of them cost memory and no speed. */
  maxConcurrent?: number
  /** Requests that wait; more are refused with BusyError. Default 64. */
  maxQueued?: number
  /** Bytes of the particles of all that runs at once; default half of the memory that is available at the start. */
  memoryLimit?: number
  /** Most particles and steps of one request; default 1024 and 1000. */
  maxParticles?: number
  maxSteps?: number
  /** Samples of one merged batch; default 256. */
  batchRows?: number
}

/** Those, once: ranges, defaults, flags and help. */
export const limitRows: Rows<EngineLimits> = {
  maxConcurrent: whole('requests that run at once', { default: 4 }),
  maxQueued: whole('requests that wait; more are refused', { min: 0, default: 64 }),
  memoryLimit: whole('of the particles of all that runs, such as 500M (half of what is free)', { value: 'bytes' }),
  maxParticles: whole('most particles of a request', { default: 1024 }),
  maxSteps: whole('most steps of a request', { default: 1000 }),
  batchRows: whole('most samples of one merged batch', { default: 256 }),
}

/** Where and for whom `serve` listens. */
export interface HttpOptions {
  /** Default 127.0.0.1: this machine alone. */
  host?: string
  /** Default 0: any that is free. */
  port?: number
  /** What clients must give, as `Authorization: Bearer KEY` or `x-api-key`; default nothing. */
  apiKey?: string
  /** Seconds that a request may take, waiting included; default 300. */
  maxSeconds?: number
  /** Bytes of a request's body; default 64 kB. */
  maxBody?: number
  /** Folders whose runs are shown at /watch (feynkac-watch). With a key: /watch/?key=KEY, once in a browser. */
  watch?: readonly string[]
  /** Text of the description's `info.version`. */
  version?: string
}

export const httpRows: Rows<HttpOptions> = {
  host: text('where to listen; 0.0.0.0 for other machines', 'a name or an address', {
    value: 'address',
    default: '127.0.0.1',
  }),
  port: whole('port; 0: any that is free', { min: 0, max: 65535, default: 0 }),
  apiKey: text('what clients must give (FEYNKAC_API_KEY of the environment; none)', 'a text', { value: 'text' }),
  maxSeconds: positive('most time of a request, waiting included', { max: 2e6, default: 300 }),
  maxBody: whole("bytes of a request's body", { max: 2 ** 30, default: 65_536 }),
  watch: {
    ...{ kind: 'text', range: {}, flag: false, help: 'folders whose runs are shown at /watch', default: [] },
    check: (name, value) => {
      if (isList(value) && value.every((folder) => typeof folder === 'string')) return value as string[]
      throw invalid(name, 'a list of names of folders', value)
    },
  },
  version: text("of the description's info.version", 'a text', { flag: false, default: '1' }),
}

/** A server that `serve` started. */
export interface HttpServer {
  /** http://host:port */
  readonly url: string
  readonly port: number
  /** Takes no more requests, answers those that it has, and closes the engine. */
  close(): Promise<void>
}
