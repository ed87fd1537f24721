import type { Command } from 'commander'
import type { ExportFormat } from '../models/export.js'
import { type CommonOptions, choice, common } from './options.js'
import { type SourceFlags, sourceFlags, sourceOptions } from './source-options.js'

interface Flags extends CommonOptions, SourceFlags {
  to: ExportFormat
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
      .addOption(choice('--to <format>', 'format to write (feynkac)', ['feynkac', 'diffusers', 'edm'])),
  )
  common(command, 'feynkac convert edm-cifar10-32x32-cond-vp.pkl teacher.safetensors').action(
    async (path: string, output: string, flags: Flags) => {
      const { loadModel } = await import('../models/load.js')
      const { exportModel } = await import('../models/export.js')
      const format = flags.to ?? 'feynkac'
      const { info, network, notes } = await loadModel(path, { device: 'cpu', ...(await sourceOptions(flags)) })
      try {
        await exportModel(output, format, { info, network })
        const parameters = network.parameterCount()
        if (flags.json) console.log(JSON.stringify({ source: path, output, format, notes, parameters, ...info }))
        else {
          for (const note of notes) process.stderr.write(`note: ${note}\n`)
          console.log(`${output}: ${info.network.class}, ${parameters.toLocaleString('en')} parameters`)
        }
      } finally {
        network.dispose()
      }
    },
  )
}
