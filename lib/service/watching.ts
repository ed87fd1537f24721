import { optional } from '../base/optional.js'

/** The package in which runs are watched. */

const NAME: string = 'feynkac-watch' // no literal, as it is compiled after this

export interface Watching {
  watch(options: {
    folders: readonly string[]
    host?: string
    port?: number
  }): Promise<{ url: string; close(): Promise<void> }>
  /** Adds the page to a scope of an application of Fastify's; returns what ends its events. */
  watchRoutes(scope: object, folders: readonly string[]): Promise<() => void>
}

/** version: of the package, for the message. Throws MissingPackageError where it is not installed. */
export function loadWatching(version: string): Promise<Watching> {
  return optional<Watching>('watching runs', [`${NAME}@${version}`], () => import(NAME))
}
