// A client whose requests and answers are typed by the server's description. api.d.ts is made of it (node examples/typed-client/types.mjs):
//   npx openapi-typescript openapi.json -o api.d.ts
import type { components, paths } from './api.js'

export type SampleRequest = components['schemas']['SampleRequest']
export type Result = components['schemas']['Result']
export type Model = components['schemas']['Model']
type Query = NonNullable<paths['/sample']['post']['parameters']['query']>

/** What a server-sent event holds. */
export type Event =
  | { event: 'level'; data: { level: number; lastLevel: number; sigma: number; ess?: number } }
  | { event: 'preview'; data: { level: number; sigma: number; png?: string } }
  | { event: 'result'; data: Result }
  | { event: 'error'; data: components['schemas']['Failure'] }

export class Client {
  constructor(
    readonly url: string,
    readonly apiKey?: string,
  ) {}

  async models(): Promise<Model[]> {
    return (await (await this.#fetch('/models')).json()) as Model[]
  }

  async sample(request: SampleRequest, { signal, ...query }: Query & { signal?: AbortSignal } = {}): Promise<Result> {
    return (await (await this.#post(request, query, 'application/json', signal)).json()) as Result
  }

  /** The events of a request; leaving the loop cancels it. */
  async *events(request: SampleRequest, query: Query = {}): AsyncGenerator<Event, void, void> {
    const stop = new AbortController()
    const answer = await this.#post(request, query, 'text/event-stream', stop.signal)
    let text = ''
    try {
      for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
        const parts = (text + piece).split('\n\n')
        text = parts.pop()!
        for (const part of parts) {
          const [event, data] = part.split('\n').map((line) => line.slice(line.indexOf(': ') + 2)) as [string, string]
          yield { event, data: JSON.parse(data) } as Event
        }
      }
    } finally {
      stop.abort()
    }
  }

  #post(request: SampleRequest, query: Query, accept: string, signal?: AbortSignal): Promise<Response> {
    const given = Object.entries(query).map(([name, value]): [string, string] => [name, String(value)])
    const headers = { 'content-type': 'application/json', accept }
    const init = { method: 'POST', headers, body: JSON.stringify(request), ...(signal && { signal }) }
    return this.#fetch(`/sample?${new URLSearchParams(given)}`, init)
  }

  async #fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers)
    if (this.apiKey !== undefined) headers.set('authorization', `Bearer ${this.apiKey}`)
    const answer = await fetch(`${this.url}${path}`, { ...init, headers })
    if (answer.ok) return answer
    const { code, message } = (await answer.json()) as components['schemas']['Failure']
    throw new Error(`${code}: ${message}`)
  }
}
