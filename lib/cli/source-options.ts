import type { Command } from 'commander'
import { readFileChecked } from '../files.js'
import { parseJsonObject } from '../json.js'
import type { LoadOptions } from '../models/load.js'

/** Options of the commands that read models of other frameworks. */
export interface SourceFlags {
  network?: string
  config?: string
  scheduler?: string
}

const MAX_JSON = 2 ** 22

export function sourceFlags(command: Command): Command {
  return command
    .option('--network <name>', 'which network of a file that holds several, such as ema or unet')
    .option(
      '--config <file>',
      'JSON with class, args and shape of the network of a bare state dict, and its preconditioning',
    )
    .option('--scheduler <file>', 'scheduler_config.json for a network of diffusers that came without')
}

export async function sourceOptions({ network, config, scheduler }: SourceFlags): Promise<LoadOptions> {
  const read = async (file: string) => parseJsonObject(await readFileChecked(file, { maxBytes: MAX_JSON }), file)
  return {
    ...(network !== undefined && { network }),
    ...(config !== undefined && { config: await read(config) }),
    ...(scheduler !== undefined && { scheduler: await read(scheduler) }),
  }
}
