import { join } from 'node:path'
import type { Command } from 'commander'
import { refuseOverwriting } from '../base/files.js'
import type { ExportFormat } from '../models/export.js'
import type { LoadOptions } from '../models/load.js'
import type { SourceModel } from '../weights/source-model.js'
import { type CommonOptions, choice, common } from './options.js'
import { type SourceFlags, sourceFlags, sourceOptions } from './source-options.js'

interface Flags extends CommonOptions, SourceFlags {
  to: ExportFormat
  overwrite?: boolean
}

export function register(program: Command): void {
  const command = sourceFlags(
    program
      .command('convert')
      .description(
        "Turn a model of NVlabs/edm (.pkl), diffusers (a folder) or PyTorch (.pt, .bin, .safetensors) into feynkac's own file, or back.",
      )
      .argument('<source>', 'file or folder')
      .argument(
        '<output>',
        'file to write; for --to diffusers a folder, for --to edm a state dict with the arguments in FILE.json',
      )
      .addOption(choice('--to <format>', 'format to write (feynkac)', ['feynkac', 'diffusers', 'edm']))
      .option('--overwrite', 'replace what is there already under the name of the output'),
  )
  common(command, 'feynkac convert edm-cifar10-32x32-cond-vp.pkl teacher.safetensors').action(
    async (path: string, output: string, flags: Flags) => {
      const { readSource } = await import('../weights/source.js')
      const { isAutoencoder } = await import('../models/import.js')
      const format = flags.to ?? 'feynkac'
      const options = await sourceOptions(flags)
      // a folder that is empty is no output, nor are arguments without weights, as a conversion leaves them that was ended
      const there = format === 'diffusers' ? [join(output, 'model_index.json'), join(output, 'config.json')] : [output]
      await refuseOverwriting(there, flags.overwrite ?? false)
      const source = await readSource(path, { network: options.network })
      const { info, parameters, notes } = isAutoencoder(source)
        ? await ofAutoencoder(source, output, format)
        : await ofModel(source, options, output, format)
      if (flags.json) console.log(JSON.stringify({ source: path, output, format, notes, parameters, ...info }))
      else console.log(`${output}: ${info.network.class}, ${parameters.toLocaleString('en')} parameters`)
    },
  )
}

async function ofModel(source: SourceModel, options: LoadOptions, output: string, format: ExportFormat) {
  const { modelFrom } = await import('../models/load.js')
  const { exportModel } = await import('../models/export.js')
  const { info, network, notes } = await modelFrom(source, { ...options, device: 'cpu' })
  try {
    await exportModel(output, format, { info, network })
    const { calibration: _, ...described } = info
    return { info: described, notes, parameters: network.parameterCount() }
  } finally {
    network.dispose()
  }
}

async function ofAutoencoder(source: SourceModel, output: string, format: ExportFormat) {
  const { Autoencoder } = await import('../models/autoencoder.js')
  const { exportAutoencoder } = await import('../models/export.js')
  using model = await Autoencoder.from(source, { device: 'cpu' })
  await exportAutoencoder(output, format, model)
  return { info: model.info, notes: [] as string[], parameters: model.network.parameterCount() }
}
