import type { OptionRow } from '../base/option-table.js'
import { requestRows } from './request-options.js'

/** The JSON schemas of the HTTP interface, of which its OpenAPI description is made. The engine does the checking, with messages for people. */

/** The schema of an option in a table. */
function schemaOf({ kind, range, words, help, default: usual }: OptionRow<unknown>): object {
  const sentence = `${help[0]!.toUpperCase()}${help.slice(1)}`
  const description = usual === undefined || help.endsWith(')') ? `${sentence}.` : `${sentence}; default ${usual}.`
  if (kind === 'switch') return { type: 'boolean', description }
  if (kind === 'choice') return { type: 'string', enum: [...words!], description }
  if (kind === 'text') return { type: 'string', description }
  const { min, max, above } = range
  const bounds = {
    ...(min !== undefined && { minimum: min }),
    ...(max !== undefined && { maximum: max }),
    ...(above !== undefined && { exclusiveMinimum: above }),
  }
  const number = { type: kind === 'whole' ? 'integer' : 'number', ...bounds }
  if (kind === 'pair') return { type: 'array', items: number, minItems: 2, maxItems: 2, description }
  return words ? { anyOf: [number, { type: 'string', enum: [...words] }], description } : { ...number, description }
}

const attributes = {
  type: 'object',
  description: 'Classes of the attributes, by index or name.',
  additionalProperties: { anyOf: [{ type: 'string' }, { type: 'integer' }] },
}

const term = {
  type: 'object',
  properties: { model: { type: 'string', description: "Default: the request's own." }, attributes },
  additionalProperties: false,
}

export const sampleRequest = {
  $id: 'SampleRequest',
  type: 'object',
  required: ['model'],
  additionalProperties: false,
  properties: {
    model: { type: 'string', description: 'Name of a model.' },
    attributes,
    with: { type: 'array', items: term, description: 'AND: multiplies by these densities.' },
    not: { type: 'array', items: term, description: 'NOT: divides by these densities, to the power strength.' },
    ...Object.fromEntries(Object.entries(requestRows).map(([name, row]) => [name, schemaOf(row)])),
  },
}

const array = (type: string) => ({
  type: 'object',
  required: ['type', 'base64'],
  properties: { type: { type: 'string', enum: [type] }, base64: { type: 'string', description: 'Little-endian.' } },
})

export const result = {
  $id: 'Result',
  type: 'object',
  description: 'A result as resultFromJSON of feynkac reads it.',
  required: ['kind', 'shape', 'samples', 'logWeights', 'ess', 'warnings', 'collapsed'],
  additionalProperties: true,
  properties: {
    kind: { type: 'string', enum: ['smc', 'sample'] },
    shape: { type: 'array', items: { type: 'integer' }, description: 'Of one sample.' },
    samples: { ...array('Float32Array'), description: '[particles, ...shape]' },
    logWeights: { ...array('Float64Array'), description: 'Normalised.' },
    ess: array('Float64Array'),
    warnings: { type: 'array', items: { type: 'string' } },
    collapsed: { type: 'boolean' },
    note: { type: 'string' },
    scheme: { type: 'string' },
    logZ: { anyOf: [{ type: 'number' }, { type: 'string' }], description: "Numbers that are not finite are 'NaN', 'Infinity'." }, // biome-ignore format: one line
  },
}

export const failure = {
  $id: 'Failure',
  type: 'object',
  required: ['code', 'message'],
  properties: { code: { type: 'string', description: 'Stable, for programs.' }, message: { type: 'string' } },
}

export const model = {
  $id: 'Model',
  type: 'object',
  required: ['name', 'kind', 'shape', 'sigmaMin', 'sigmaMax', 'attributes'],
  properties: {
    name: { type: 'string' },
    kind: { type: 'string' },
    shape: { type: 'array', items: { type: 'integer' } },
    sigmaMin: { type: 'number' },
    sigmaMax: { type: 'number' },
    attributes: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'size'],
        properties: {
          name: { type: 'string' },
          size: { type: 'integer' },
          values: { type: 'array', items: { type: 'string' } },
        },
      },
    },
  },
}

export const health = {
  $id: 'Health',
  type: 'object',
  required: ['status', 'queued', 'running', 'memory', 'uptime'],
  properties: {
    status: { type: 'string', enum: ['ok', 'closing'] },
    queued: { type: 'integer' },
    running: { type: 'integer' },
    memory: { type: 'number' },
    uptime: { type: 'number' },
  },
}

export const formats = ['json', 'png', 'npy'] as const

const ref = ($id: string) => ({ $ref: `${$id}#` })
const binary = (type: string) => ({ [type]: { schema: { type: 'string', format: 'binary' } } })

export const routes = {
  sample: {
    summary: 'Draws samples.',
    description:
      'With `Accept: text/event-stream` the answer is server-sent events: `level` (level, lastLevel, sigma, ess), `preview` (png in base64 of images, else shape and samples), at last `result` (Result) or `error` (Failure). Closing the connection cancels the request.',
    operationId: 'sample',
    body: ref('SampleRequest'),
    querystring: {
      type: 'object',
      properties: {
        format: { type: 'string', enum: [...formats], description: 'json (default): all of the result; png and npy: samples drawn by their weights.' }, // biome-ignore format: one line
        deadline: { type: 'number', exclusiveMinimum: 0, description: 'Seconds by which the request must be done.' },
        previews: { type: 'integer', minimum: 0, description: 'Of events: how many previews there are at most; default 8.' }, // biome-ignore format: one line
      },
    },
    response: {
      200: {
        description: 'The samples.',
        content: { 'application/json': { schema: ref('Result') }, ...binary('image/png'), ...binary('application/octet-stream'), 'text/event-stream': { schema: { type: 'string' } } }, // biome-ignore format: one line
      },
      400: { description: 'The request is wrong.', ...ref('Failure') },
      401: { description: 'The API key is missing or wrong.', ...ref('Failure') },
      503: { description: 'There is more to do than is taken: see Retry-After.', ...ref('Failure') },
      504: { description: 'It was not done in time.', ...ref('Failure') },
    },
  },
  models: {
    summary: 'The models.',
    operationId: 'models',
    response: { 200: { description: 'All of them.', type: 'array', items: ref('Model') } },
  },
  health: {
    summary: 'Whether it serves. Needs no key.',
    operationId: 'health',
    security: [],
    response: {
      200: { description: 'It does.', ...ref('Health') },
      503: { description: 'It stops.', ...ref('Health') },
    },
  },
  metrics: {
    summary: 'Counters and times for Prometheus.',
    operationId: 'metrics',
    response: { 200: { description: 'Text.', content: { 'text/plain': { schema: { type: 'string' } } } } },
  },
} as const
