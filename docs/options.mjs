import { readingRows } from '../dist/data/options.js'
import { fitRows } from '../dist/fit/options.js'
import { evaluateRows, featureRows } from '../dist/metrics/options.js'
import { httpRows, limitRows } from '../dist/service/options.js'
import { compositionRows, gridRows, requestRows } from '../dist/service/request-options.js'
import { moveRows } from '../dist/smc/mcmc.js'
import { churnRows, sampleRows } from '../dist/smc/samplers.js'
import { runRows, targetRows } from '../dist/smc/smc-options.js'
import { holdOutRows, lengthRows, levelRows, pathRows, previewRows, recordRows } from '../dist/training/options.js'
import { settingRows } from '../dist/training/settings.js'

/** The page of all options, made of the tables that check them and that the flags and their help are made of. */

const sets = [
  ['Data', '`loadDataset`, and `dataOptions` of all that reads data', readingRows],
  ['Fit', '`fit`', fitRows],
  [
    'Training',
    '`trainDenoiser`, `trainEnergy`, `distill`; but for noise levels also `trainAutoencoder`, `trainClassifier`. Without a default: [the recipe](../recipe.md) chooses',
    { ...lengthRows, ...settingRows, ...holdOutRows, ...previewRows, ...recordRows },
  ],
  ['Cross-entropy over noise levels', '`trainEnergy` and `distill` ([what it is](../levelled.md))', levelRows],
  ['Path loss', '`distill` ([what it is](../residual.md))', pathRows],
  ['SMC', '`smc` ([all of its options](smc.md))', { ...runRows, ...targetRows }],
  ['MCMC moves', '`moves` of `smc`, and `mcmc`', moveRows],
  ['Samplers without weights', '`sample`', sampleRows],
  ['Churn', '`churn` of `sample`, for stochastic-heun', churnRows],
  [
    'Requests',
    'the command `sample` and the requests of `serve`, beside those of SMC',
    { particles: requestRows.particles, ...gridRows, ...compositionRows },
  ],
  ['Service', '`createEngine` and `serve`', { ...limitRows, ...httpRows }],
  ['Evaluation', '`evaluate`', evaluateRows],
  ['ONNX features', '`featureOptions` of `evaluate`', featureRows],
]

const dashed = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
const code = (text) => `\`${text}\``
const cell = (text) => text.replace(/\|/g, '\\|')

function values({ kind, range: { min, max, above }, words = [] }) {
  if (kind === 'switch') return '`true`, `false`'
  if (kind === 'choice') return words.map(code).join(', ')
  if (kind === 'text') return 'text'
  if (kind === 'pair') return 'two numbers'
  if (kind === 'list') return 'numbers'
  const from = above !== undefined ? `above ${above}` : min !== undefined ? `from ${min}` : ''
  const to = max === undefined ? '' : Math.abs(max - 1) < 1e-9 && max < 1 ? 'below 1' : `to ${max}`
  const number = [kind === 'whole' ? 'whole' : 'number', from, to].filter(Boolean).join(' ')
  return [number, ...words.map(code)].join(', or ')
}

const row = ([name, option]) => {
  const flag = option.flag === false ? '' : code(`--${option.flag ?? dashed(name)}`)
  const usual = option.default === undefined ? '' : code(String(option.default))
  return `| ${code(name)} | ${flag} | ${cell(values(option))} | ${usual} | ${cell(option.help)} |`
}

export const optionsPage = () =>
  [
    '# All options',
    'Names in the library, flags of the commands, what they may be and what they are by default. Options that are objects or functions are in the API.',
    ...sets.map(([title, of, table]) =>
      [
        `## ${title}\n\nTaken by ${of}.\n`,
        '| option | flag | values | default | |',
        '|---|---|---|---|---|',
        ...Object.entries(table).map(row),
      ].join('\n'),
    ),
  ].join('\n\n')
