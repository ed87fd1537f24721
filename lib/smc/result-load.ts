import { ArgumentError, formatFailure, invalid } from '../base/errors.js'
import { isObject } from '../base/json.js'
import type { McmcResult, SampleResult } from './result.js'
import { readResult } from './result-files.js'
import { resultFromJSON } from './result-read.js'
import type { SmcResult } from './smc-result.js'

/** Documented in late.ts. */
export async function loadResult(folder: string): Promise<SmcResult | McmcResult | SampleResult> {
  if (typeof folder !== 'string' || folder === '') throw invalid('folder', 'the name of a folder', folder)
  const { json, samples, path } = await readResult(folder)
  try {
    if (!isObject(json)) throw new ArgumentError('it holds no result')
    return resultFromJSON({ ...json, samples })
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error
    return formatFailure(path)(error.message, error)
  }
}
