import { readFile } from 'node:fs/promises'

/** The package's version, from package.json beside lib/ and dist/. */
export async function version(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
