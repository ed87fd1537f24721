import type { Command } from 'commander'
import { ArgumentError, FeynkacError } from '../base/errors.js'
import { found } from '../base/files.js'
import { loadWatching } from '../service/watching.js'
import { Interrupted, interruptible } from './interrupt.js'
import { count } from './options.js'
import { version } from './version.js'

/** The command `watch`, and the option --watch of the commands that take long. */

interface Flags {
  host: string
  port: number
  json?: boolean
}

/** Where --watch listens if it is given no port. */
const PORT = 8765

export function register(program: Command): void {
  program
    .command('watch')
    .description('Show runs in the browser, as they go and as they went: training, sampling, several side by side.')
    .argument('[folders...]', 'folders of runs, or of folders of them (this one)')
    .option('--host <address>', 'where to listen; 0.0.0.0 for other machines, without any key', '127.0.0.1')
    .option('--port <number>', 'port; 0: any that is free', count(0, 65535), PORT)
    .option('--json', 'print the address as one JSON object on stdout, and nothing else there')
    .option('--verbose', 'show the stack of an error')
    .addHelpText('after', '\nExample:\n  feynkac watch runs')
    .action(async (folders: string[], { host, port, json }: Flags) => {
      const server = await open(folders.length > 0 ? folders : ['.'], port, host)
      console.log(json ? JSON.stringify({ url: server.url }) : `${server.url}   (Ctrl-C ends it)`)
      await interruptible(
        (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      ).catch(async (reason) => {
        await server.close()
        if (!(reason instanceof Interrupted)) throw reason
      })
    })
}

/** Adds --watch. */
export function watchFlag(command: Command): Command {
  return command.option(
    '--watch [port]',
    `show the run in the browser while it goes (port ${PORT}; 0: any)`,
    count(0, 65535),
  )
}

/** Runs work while its folder, and others that it works in, are watched, where --watch asks for it. They are made for that. */
export async function whileWatched<T>(
  { watch, output, also = [] }: { watch?: number | true; output: string; also?: readonly string[] },
  speaks: boolean,
  work: () => Promise<T>,
): Promise<T> {
  if (watch === undefined || !speaks) return work()
  const { prepareFolder } = await import('../base/files.js')
  await loadWatching(await version()) // what is missing must stop a run before it has made a folder
  const folders = [output, ...also]
  for (const folder of folders) await prepareFolder(folder)
  const server = await open(folders, watch === true ? PORT : watch)
  process.stderr.write(`watch at ${server.url}\n`)
  try {
    return await work()
  } finally {
    await server.close()
  }
}

async function open(folders: readonly string[], port: number, host = '127.0.0.1') {
  const { watch } = await loadWatching(await version())
  for (const folder of folders)
    if (!(await found(folder))?.isDirectory()) throw new ArgumentError(`there is no folder ${folder} to watch`)
  try {
    return await watch({ folders, port, host })
  } catch (error) {
    throw new FeynkacError(`cannot listen on ${host}:${port}: ${(error as Error).message}`, { cause: error })
  }
}
