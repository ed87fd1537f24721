/** Of `serve`; apart from it, so that declarations name no type of Fastify's. */

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

export interface HttpServer {
  /** http://host:port */
  readonly url: string
  readonly port: number
  /** Takes no more requests, answers those that it has, and closes the engine. */
  close(): Promise<void>
}
