#!/usr/bin/env node
import { missingPrebuilds } from '../platforms/list.mjs'

/** npm runs this before it publishes a clone: a package without an addon for every platform is refused. */

const missing = missingPrebuilds()
if (missing.length) {
  console.error(
    `not to be published: prebuilds/ has no addon for ${missing.join(', ')}.\n` +
      'node scripts/release.mjs builds, tests and packs a release as far as this machine can; the workflow release.yml all of it.',
  )
  process.exit(1)
}
