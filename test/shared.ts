import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Reference data that lives beside the repository; tests that need it are skipped without it, or fail in CI. */
const root = process.env.FEYNKAC_SHARED ?? fileURLToPath(new URL('../../shared', import.meta.url))

/** Path of a shared file, and whether a test that needs it must be skipped. */
export function shared(path: string): { path: string; missing: boolean } {
  const full = `${root}/${path}`
  const missing = !existsSync(full)
  if (missing && process.env.FEYNKAC_REQUIRE_FIXTURES === '1')
    throw new Error(`${full} is missing, and FEYNKAC_REQUIRE_FIXTURES=1 makes that an error`)
  return { path: full, missing }
}
