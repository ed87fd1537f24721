import { readingRows } from '../dist/data/options.js'
import { fitRows } from '../dist/fit/options.js'
import { evaluateRows, featureRows } from '../dist/metrics/options.js'
import { httpRows, limitRows } from '../dist/service/options.js'
import { compositionRows, gridRows, requestRows } from '../dist/service/request-options.js'
import { adaptRows } from '../dist/smc/adapt-options.js'
import { moveRows } from '../dist/smc/mcmc.js'
import { calibrateRows, tableRows } from '../dist/smc/precision/calibrate-options.js'
import { churnRows, sampleRows } from '../dist/smc/samplers.js'
import { sigmaGridRows } from '../dist/smc/schedule.js'
import { runRows, targetRows } from '../dist/smc/smc-options.js'
import { autoencoderRows, classifierNetworkRows, mlpRows, unetRows } from '../dist/training/network-options.js'
import {
  classifierRows,
  denoisingRows,
  distillRows,
  holdOutRows,
  imageNoiseRows,
  latentNoiseRows,
  lengthRows,
  levelRows,
  pathRows,
  previewRows,
  recordRows,
  trainedHeadRows,
} from '../dist/training/options.js'
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
  ['Training on data', '`trainDenoiser` and `trainEnergy`', denoisingRows],
  [
    'Networks of images',
    '`network` of `trainDenoiser`, `trainEnergy` and `distill`, where the data are images',
    unetRows,
  ],
  ['Networks of vectors', '`network` of the same, where the data are vectors', mlpRows],
  ['Energies', '`trainEnergy` and `distill` (but `joint` and `energyWeight`)', trainedHeadRows],
  ['Distillation', '`distill`', distillRows],
  ['Autoencoders', '`trainAutoencoder`', latentNoiseRows],
  ['Networks of autoencoders', '`network` of `trainAutoencoder`', autoencoderRows],
  ['Classifiers', '`trainClassifier`', { ...classifierRows, ...imageNoiseRows }],
  ['Networks of classifiers', '`network` of `trainClassifier`', classifierNetworkRows],
  ['Cross-entropy over noise levels', '`trainEnergy` and `distill` ([what it is](../levelled.md))', levelRows],
  ['Path loss', '`distill` ([what it is](../residual.md))', pathRows],
  ['SMC', '`smc` ([all of its options](smc.md))', { ...runRows, ...targetRows }],
  ['Noise levels', '`sigmaGrid`; as flags of `sample`, under Requests', sigmaGridRows],
  ['Adapted noise levels', '`adaptSigmas`, beside options of SMC; `--adapt-levels` of `sample`', adaptRows],
  ['Calibration', "`calibrate`; `levels` of an EnergyModel's own", { ...calibrateRows, ...tableRows }],
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
  if (kind === 'wholes') return 'whole numbers'
  const from = above !== undefined ? `above ${above}` : min !== undefined ? `from ${min}` : ''
  const to = max === undefined ? '' : Math.abs(max - 1) < 1e-9 && max < 1 ? 'below 1' : `to ${max}`
  const number = [kind === 'whole' ? 'whole' : 'number', from, to].filter(Boolean).join(' ')
  return [number, ...words.map(code)].join(', or ')
}

const row = ([name, option]) => {
  const flags = [`--${option.flag ?? dashed(name)}`, ...(option.no ? [`--no-${option.flag ?? dashed(name)}`] : [])]
  const flag = option.flag === false ? '' : flags.map(code).join(', ')
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
