import { isShape, oneOf, plainObject } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { weightRules } from './annealing.js'
import type { SmcDiagnostics } from './diagnostics.js'
import type { LevelReport } from './events.js'
import { McmcResult, type SampleFields, SampleResult } from './result.js'
import { decoded, decodedArray, decodedNumber } from './result-json.js'
import { SmcResult } from './smc-result.js'

/** Results from JSON. */

/**
 * The result that `toJSON` has made plain data of, in either form of its arrays.
 * Throws ArgumentError.
 * @example
 * ```js
 * import { gaussianMixture, resultFromJSON, sample } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const result = await sample(normal, { particles: 8, sigmas: [2, 1, 0] })
 * const same = resultFromJSON(JSON.parse(JSON.stringify(result)))
 * console.log(same.kind, same.mean())
 * ```
 */
export function resultFromJSON(json: unknown): SmcResult | McmcResult | SampleResult {
  const given = plainObject('the result', json)
  const { kind, shape } = given
  oneOf('kind of the result', kind as 'smc', ['smc', 'mcmc', 'sample'])
  if (!isShape(shape)) throw invalid('shape of the result', 'a shape', shape)
  const array = <T extends 'Float32Array' | 'Float64Array' | 'Int32Array'>(name: string, type: T) =>
    decodedArray(name, given[name], type)
  const logWeights = array('logWeights', 'Float64Array')
  const samples = array('samples', 'Float32Array')
  if (logWeights.length === 0 || samples.length !== logWeights.length * sizeOf(shape))
    throw invalid('samples', `${logWeights.length} of shape [${shape}]`, samples)
  const { note, warnings, collapsed } = given
  if (note !== undefined && typeof note !== 'string') throw invalid('note', 'a text', note)
  const common: SampleFields = {
    ...{ samples, shape: [...shape], logWeights, ess: array('ess', 'Float64Array') },
    ...{ warnings: texts('warnings', warnings), collapsed: collapsed === true, ...(note !== undefined && { note }) },
  }
  const number = (name: string) => decodedNumber(name, given[name])
  if (kind === 'sample') return new SampleResult({ ...common, evaluations: number('evaluations') })
  if (kind === 'mcmc')
    return new McmcResult({
      ...common,
      energy: array('energy', 'Float64Array'),
      acceptance: array('acceptance', 'Float64Array'),
      chainAcceptance: array('chainAcceptance', 'Float64Array'),
      stepSizes: array('stepSizes', 'Float64Array'),
      evaluations: number('evaluations'),
    })
  const { scheme } = given
  const names = Object.keys(weightRules) as (keyof typeof weightRules)[]
  return new SmcResult({
    ...common,
    ...(scheme !== undefined && { scheme: oneOf('scheme', scheme as keyof typeof weightRules, names) }),
    logZ: number('logZ'),
    logZError: number('logZError'),
    ancestors: list('ancestors', given.ancestors).map((drawn, i) =>
      drawn === null ? null : decodedArray(`ancestors[${i}]`, drawn, 'Int32Array'),
    ),
    diagnostics: diagnosticsOf(given.diagnostics),
  })
}

function diagnosticsOf(value: unknown): SmcDiagnostics {
  const given = plainObject('diagnostics', value)
  const number = (name: string) => decodedNumber(`diagnostics.${name}`, given[name])
  const arrays = (name: string) =>
    list(name, given[name]).map((item, i) => decodedArray(`diagnostics.${name}[${i}]`, item, 'Float64Array'))
  return {
    levels: list('levels', given.levels).map((level, i) => decoded(plainObject(`levels[${i}]`, level)) as LevelReport), // biome-ignore format: one line
    evaluations: number('evaluations'),
    resamplings: number('resamplings'),
    roots: decodedArray('diagnostics.roots', given.roots, 'Int32Array'),
    distinctRoots: number('distinctRoots'),
    families: number('families'),
    warnings: texts('diagnostics.warnings', given.warnings),
    meanPrecisions: arrays('meanPrecisions'),
    drift: arrays('drift'),
  }
}

function list(name: string, value: unknown): unknown[] {
  if (!Array.isArray(value)) throw invalid(name, 'an array', value)
  return value
}

function texts(name: string, value: unknown): string[] {
  const all = list(name, value)
  for (const text of all) if (typeof text !== 'string') throw invalid(name, 'texts', text)
  return all as string[]
}
