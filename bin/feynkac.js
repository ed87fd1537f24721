#!/usr/bin/env node
import { existsSync } from 'node:fs'

// A reader that goes away (feynkac ... | head) ends the program as SIGPIPE would, without a stack.
process.stdout.on('error', (error) => {
  if (error.code === 'EPIPE') process.exit(141)
  process.exit(fail(`cannot write to the standard output: ${error.message}`))
})
process.stderr.on('error', () => {})

function fail(message) {
  process.stderr.write(`feynkac: ${message}\n`)
  return 1
}

/** Builds the addon here, for machines that no prebuilt one fits. */
async function build(args) {
  if (args.length) {
    const help = args.length === 1 && ['--help', '-h'].includes(args[0])
    const usage = 'Usage: feynkac build\n\nBuild the native addon from source (needs CMake and a C++17 compiler).\n'
    ;(help ? process.stdout : process.stderr).write(usage)
    return help ? 0 : 2
  }
  const { buildAddon, SetupError } = await import('../scripts/native.mjs')
  try {
    process.stderr.write('feynkac: building the addon, which takes a few minutes ...\n')
    await buildAddon({ afresh: true })
    process.stderr.write('feynkac: done\n')
    return 0
  } catch (error) {
    if (error instanceof SetupError) return fail(error.message)
    throw error
  }
}

async function run(argv) {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) return fail(`needs Node 20.19 or newer; this is ${process.version}`)
  if (argv[0] === 'build') return build(argv.slice(1))
  const index = new URL('../dist/cli/index.js', import.meta.url)
  if (!existsSync(index))
    return fail('dist/ is missing, because this source tree has not been built. Run: npm run setup')
  let main
  try {
    ;({ main } = await import(index.href))
  } catch (error) {
    if (['EMFILE', 'ENFILE'].includes(error.code)) return fail(`too many files are open (ulimit -n): ${error.message}`)
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    return fail(`a part of the program is missing; run npm install (or npm run setup in a clone). ${error.message}`)
  }
  return main(argv)
}

process.exitCode = await run(process.argv.slice(2))
