import { kernels, proposals } from '../smc/kernels.js'
import { moveKernels } from '../smc/mcmc.js'
import { resamplingSchemes } from '../smc/resampling.js'
import { requestMethods, weightSchemes } from './request.js'

/** The JSON schemas of the HTTP interface, of which its OpenAPI description is made. The engine does the checking, with messages for people. */

const positive = (description: string) => ({ type: 'number', exclusiveMinimum: 0, description })
const whole = (description: string, minimum = 1) => ({ type: 'integer', minimum, description })
const choice = (description: string, values: readonly string[]) => ({ type: 'string', enum: [...values], description })
const flag = (description: string) => ({ type: 'boolean', description })
const pair = (description: string) => ({ type: 'array', items: { type: 'number' }, minItems: 2, maxItems: 2, description }) // biome-ignore format: one line

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
    particles: whole('Samples; default 16.'),
    steps: whole('Transitions between noise levels; default 64.'),
    sigmaMin: positive("Smallest noise level; default the model's."),
    sigmaMax: positive("Largest noise level; default the model's."),
    rho: positive('Spacing of the noise levels; default 7.'),
    method: choice('Default smc for energies, heun for denoisers.', requestMethods),
    attributes,
    gamma: positive('The density to this power; above 1, low temperature.'),
    with: { type: 'array', items: term, description: 'AND: multiplies by these densities.' },
    not: { type: 'array', items: term, description: 'NOT: divides by these densities, to the power strength.' },
    strength: positive('Default 0.5.'),
    dividePrior: flag('AND of independent conditions: divides the unconditional density out.'),
    guidance: { type: 'number', description: 'Guidance towards the attributes; 1: none.' },
    guidanceInterval: pair('Of a denoiser: guide at these noise levels only.'),
    box: pair('Keeps all coordinates between two bounds.'),
    weights: choice('Of smc.', weightSchemes),
    weighAbove: { anyOf: [{ type: 'number', minimum: 0 }, { type: 'string', enum: ['auto'] }], description: 'Of smc: no weights below this noise.' }, // biome-ignore format: one line
    kernel: choice('Of smc.', kernels),
    proposal: choice('Of smc.', proposals),
    resampling: choice('Of smc.', resamplingSchemes),
    essThreshold: { type: 'number', minimum: 0, maximum: 1, description: 'Of smc: resample below this share.' },
    essAfter: { type: 'number', minimum: 0, maximum: 1, description: 'Of smc: resample up to this share.' },
    finalResample: flag('Of smc: equal weights at the end.'),
    controlDrift: flag('Of smc: a fitted drift that evens the weights.'),
    moves: choice('Of smc: MCMC moves at every level.', moveKernels),
    seed: whole('Default 0: the same request has the same answer.', 0),
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
