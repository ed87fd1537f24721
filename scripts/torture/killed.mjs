import * as files from './faulty-files.mjs'

/** Runs a command of the package in this process, which ends by SIGKILL at an operation on files: `node killed.mjs FOLDER K ARGUMENTS...`; 0: at none. */
const [folder, k, ...argv] = process.argv.slice(2)
const { main } = await import('../../dist/cli/index.js')
files.arm(folder, { failing: Number(k), code: 'SIGKILL' })
process.exitCode = await main([...argv, '--threads', '1'])
console.log(`operations: ${files.disarm().count}`)
