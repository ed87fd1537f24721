import { setImmediate as breathe } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { MissingPackageError } from './errors.js'

/**
 * Packages that are not installed with feynkac, each loaded by who first needs it: few programs need them, and they are large. Bundlers do not
 * look for them: of feynkac in a bundle the addon's error is to be heard, not that sharp is absent.
 */

type Sharp = typeof import('sharp').default
type Fastify = typeof import('fastify').default
type Swagger = typeof import('@fastify/swagger').default

/** Loads a package that no bundler and no compiler looks up. */
export const outside = (name: string) =>
  import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ name)

async function locate(name: string): Promise<string> {
  const { createRequire } = await import('node:module')
  return createRequire(import.meta.url).resolve(name)
}

/** The reader and writer of image files. use: what needs it, as in "reading image files". Throws MissingPackageError. */
export function loadSharp(use: string): Promise<Sharp> {
  return optional(use, ['sharp'], importSharp)
}

/** What sharp is made of, in the order of need: loaded one by one, with turns of the event loop between them, they take it 4 ms each and not 40 in all. */
const PARTS = [
  'node:child_process',
  'node:crypto',
  'detect-libc',
  ...['classes/semver', 'functions/cmp', 'functions/sort', 'classes/range', 'ranges/min-version', 'ranges/subset'].map((name) => `semver/${name}`), // biome-ignore format: one line
  'semver',
  '@img/colour',
  './libvips.cjs',
  `@img/sharp-${process.platform}-${process.arch}/sharp.node`,
  ...['sharp', 'utility', 'constructor', 'input', 'resize', 'operation', 'output'].map((name) => `./${name}.cjs`),
]

async function importSharp(): Promise<Sharp> {
  const { createRequire } = await import('node:module')
  const require = createRequire(await locate('sharp'))
  for (const name of PARTS) {
    try {
      require(name)
    } catch {
      // a version or a platform of sharp without this part; if it lacks one that it needs, it says so itself
    }
    await breathe()
  }
  return require('sharp')
}

const plotting = ['sharp', 'vega', 'vega-lite', 'dejavu-fonts-ttf']

/** What pictures with text are drawn by, and the file of their font. Throws MissingPackageError. */
export function loadDrawing() {
  return optional('drawing plots', plotting, async (): Promise<{ font: string; sharp: Sharp }> => {
    const font = await locate('dejavu-fonts-ttf/ttf/DejaVuSans.ttf')
    return { font, sharp: await importSharp() }
  })
}

/** Where the packages are that plots are made by, for the thread that loads them; they can be drawn too. Throws MissingPackageError. */
export async function loadPlotting(): Promise<{ vega: string; vegaLite: string }> {
  await loadDrawing()
  return optional('drawing plots', plotting, async () => {
    const of = async (name: string) => pathToFileURL(await locate(name)).href
    return { vega: await of('vega'), vegaLite: await of('vega-lite') }
  })
}

/** What serves over HTTP. Throws MissingPackageError. */
export function loadServing() {
  return optional('serving over HTTP', ['fastify', '@fastify/swagger'], async () => {
    const [fastify, swagger] = await Promise.all([outside('fastify'), outside('@fastify/swagger')])
    return { Fastify: fastify.default as Fastify, swagger: swagger.default as Swagger }
  })
}

/** Loads packages that need not be there. Throws MissingPackageError, which says what needs them and how they are installed. */
export async function optional<T>(
  use: string,
  names: readonly string[],
  load: () => Promise<T>,
  hint = '',
): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const isAbsent = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND'
    const reason = isAbsent ? 'not installed' : `not loaded: ${message.split('\n')[0]}`
    const text = `${use} needs packages that come separately: npm install ${names.join(' ')}${hint} (${reason})`
    throw new MissingPackageError(text, names, { cause })
  }
}
