import type { Command } from 'commander'
import { readFileChecked } from '../base/files.js'
import { parseJsonObject } from '../base/json.js'
import type { LoadOptions } from '../models/load.js'
import { count } from './options.js'

/** Options of the commands that read models of other frameworks. */
export interface SourceFlags {
  network?: string
  config?: string
  scheduler?: string
  nullClass?: number
}

const MAX_JSON = 2 ** 22

export function sourceFlags(command: Command): Command {
  return command
    .option('--network <name>', 'which network of a file that holds several, such as ema or unet')
    .option(
      '--config <file>',
      'JSON with class, args and shape of the network of a bare state dict, and its preconditioning',
    )
    .option('--null-class <row>', 'row of a class table that stands for no class', count(0))
    .option('--scheduler <file>', 'scheduler_config.json for a network of diffusers that came without')
}

export async function sourceOptions({ network, config, scheduler, nullClass }: SourceFlags): Promise<LoadOptions> {
  const read = async (file: string) => parseJsonObject(await readFileChecked(file, { maxBytes: MAX_JSON }), file)
  return {
    ...(network !== undefined && { network }),
    ...(nullClass !== undefined && { nullClass }),
    ...(config !== undefined && { config: await read(config) }),
    ...(scheduler !== undefined && { scheduler: await read(scheduler) }),
  }
}
