import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { textOf } from '../base/files.js'

/** The package's version, from package.json beside lib/ and dist/. */
export async function version(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** The commit that dist/ was built from, with a `+` where sources had changed since; null where that is not known (scripts/commit.mjs). */
export async function commit(): Promise<string | null> {
  return (await textOf(fileURLToPath(new URL('../commit.txt', import.meta.url))))?.trim() ?? null
}
