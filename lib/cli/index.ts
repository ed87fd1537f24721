import { Command, CommanderError, InvalidArgumentError, type Option } from 'commander'
import { ArgumentError, FeynkacError, FileError } from '../base/errors.js'
import { fileError } from '../base/files.js'
import { PartDone } from '../ranks/part.js'
import { Interrupted } from './interrupt.js'
import { repeatWarnings } from './notes.js'
import { endRanks, requireOneProcess, speaker } from './ranks.js'
import { spelled } from './spelled.js'
import { Unsound } from './unsound.js'
import { version } from './version.js'

/** The command line: exit codes 0 ok, 1 failed, 2 wrong usage, 3 done but not to be relied on, 128 + signal when interrupted. */

interface Entry {
  summary: string
  load: () => Promise<{ register(program: Command): void }>
  /** Several processes can do it together. */
  shared?: true
}

// Only the chosen command's file is loaded, so that start-up and help stay quick.
const commands: Record<string, Entry> = {
  demo: { summary: 'run the main job on synthetic data and write a report', load: () => import('./demo.js') },
  fit: { summary: 'learn an energy from pictures, and show what it has learnt', load: () => import('./fit.js') },
  train: {
    summary: 'train a denoiser, or an energy by score matching',
    load: () => import('./train.js'),
    shared: true,
  },
  'train-autoencoder': {
    summary: 'train an autoencoder, whose latents the others then work in',
    load: () => import('./train-autoencoder.js'),
    shared: true,
  },
  'train-classifier': {
    summary: 'train a classifier, which tells the attributes of samples',
    load: () => import('./train-classifier.js'),
    shared: true,
  },
  distill: { summary: 'distil a denoiser into an energy', load: () => import('./distill.js'), shared: true },
  calibrate: {
    summary: 'measure the table that an energy is sampled by in high dimension',
    load: () => import('./calibrate.js'),
    shared: true,
  },
  sample: {
    summary: 'sample a model or a composition of energies',
    load: () => import('./sample.js'),
    shared: true,
  },
  watch: { summary: 'show runs in the browser, as they go', load: () => import('./watch.js') },
  serve: { summary: 'serve samples of models over HTTP', load: () => import('./serve.js') },
  experiment: {
    summary: 'put a claim about control to the test',
    load: () => import('./experiment.js'),
    shared: true,
  },
  evaluate: { summary: 'compare samples with data by metrics', load: () => import('./evaluate.js'), shared: true },
  convert: {
    summary: 'read models of EDM, diffusers and PyTorch, and write them back',
    load: () => import('./convert.js'),
  },
  inspect: { summary: 'show what a model file holds and what it needs', load: () => import('./inspect.js') },
  verify: { summary: 'recompute a fixture file and compare', load: () => import('./verify.js') },
  bench: { summary: 'say how to run the benchmarks', load: () => import('./bench.js') },
  doctor: { summary: 'show platform, native build and devices', load: () => import('./doctor.js'), shared: true },
}

/** Runs one command; argv is what follows the program's name. Resolves to the exit code and never rejects. */
export async function main(argv: string[]): Promise<number> {
  const program = new Command('feynkac')
    .description('Distil diffusion models into energies and sample them under control.')
    .exitOverride()
    .showHelpAfterError('(--help shows the options)')
    .version(await version())
  try {
    const name = argv.find((word) => !word.startsWith('-'))
    const chosen = name === 'help' ? argv[argv.indexOf('help') + 1] : name
    for (const [command, { summary, load, shared }] of Object.entries(commands))
      if (command === chosen) {
        if (!shared) requireOneProcess(`feynkac ${command}`)
        ;(await load()).register(program)
      } else program.command(command).description(summary)
    // here for the help: bin/feynkac.js runs it where it is the first word, before anything that needs the addon is loaded
    const build = program.command('build').description('build the native addon from source')
    build.action(() => build.error("error: 'build' must be the first word: feynkac build"))
    for (const command of program.commands) {
      inheritSettings(command, program)
      command.options.forEach(refuseFlags)
    }
    if (!argv.length) program.help()
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof Unsound) await endRanks() // all have found the same
    return report(error, argv)
  } finally {
    repeatWarnings()
  }
}

/** Where a part of the program fails to load: an error that says what the user can do about it. */
function understood(error: unknown): unknown {
  const { code, path, message } = (error ?? {}) as NodeJS.ErrnoException
  if (code === 'ERR_MODULE_NOT_FOUND') {
    const what = 'a part of the program cannot be loaded: run npm install, or raise the limit of open files (ulimit -n)'
    return new FileError(`${what}: ${message}`, path ?? '', { cause: error })
  }
  return code === 'EMFILE' || code === 'ENFILE' ? fileError(error, path ?? 'a part of the program', 'read') : error
}

function inheritSettings(command: Command, parent: Command): void {
  command.copyInheritedSettings(parent)
  for (const child of command.commands) inheritSettings(child, command)
}

/** Of a value that begins with two dashes most are the next option, and the value was forgotten. */
function refuseFlags(option: Option): void {
  if (!option.required) return
  const parse = option.parseArg
  option.argParser((value: string, before: unknown) => {
    if (value.startsWith('--')) throw new InvalidArgumentError('Expected a value: of a file of that name, ./ and the name.') // biome-ignore format: one line
    return parse ? parse(value, before) : value
  })
}

function report(thrown: unknown, argv: string[]): number {
  const error = understood(thrown)
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2 // commander has printed its own message
  if (error instanceof Interrupted || error instanceof Unsound) {
    if (error.message) process.stderr.write(`${error.message}\n`)
    return error.exitCode
  }
  if (error instanceof PartDone) {
    const { part, of, missing, message } = error
    process.stdout.write(`${argv.includes('--json') ? JSON.stringify({ part, of, missing }) : message}\n`)
    return 0
  }
  const verbose = argv.includes('--verbose') || Boolean(process.env.DEBUG)
  const text = spelled(String(error instanceof Error ? (verbose ? error.stack : error.message) : error))
  const prefix = error instanceof FeynkacError || verbose ? '' : 'unexpected: '
  process.stderr.write(`${speaker}: ${prefix}${text}\n`)
  return error instanceof ArgumentError ? 2 : 1
}
