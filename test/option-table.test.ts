import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import {
  choice,
  list,
  orFalse,
  orWord,
  pair,
  positive,
  reader,
  text,
  toggle,
  whole,
  wholes,
} from '../lib/base/option-table.js'
import { tableFlags, tableValues } from '../lib/cli/options.js'
import { readingRows } from '../lib/data/options.js'
import { fitRows } from '../lib/fit/options.js'
import { evaluateRows, featureRows } from '../lib/metrics/options.js'
import { httpRows, limitRows } from '../lib/service/options.js'
import { requestRows } from '../lib/service/request-options.js'
import { adaptRows } from '../lib/smc/adapt-options.js'
import { moveRows } from '../lib/smc/mcmc.js'
import { calibrateRows, tableRows } from '../lib/smc/precision/calibrate-options.js'
import { churnRows, sampleRows } from '../lib/smc/samplers.js'
import { sigmaGridRows } from '../lib/smc/schedule.js'
import { runRows, targetRows } from '../lib/smc/smc-options.js'
import {
  architectureRows,
  autoencoderRows,
  classifierNetworkRows,
  mlpRows,
  unetRows,
} from '../lib/training/network-options.js'
import {
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
} from '../lib/training/options.js'
import { settingRows } from '../lib/training/settings.js'

/** Options as rows of tables. */

const rows = {
  lr: positive('learning rate', { default: 0.5 }),
  count: whole('how many', { max: 9, flag: 'how-many' }),
  form: choice('which', ['round', 'square']),
  above: orWord(positive('from here up'), 'auto'),
  box: pair('between', 'bounds'),
  mean: list('of each channel'),
  mults: wholes('of each level', { max: 8 }),
  draws: orFalse(whole('how many draws'), 'none at all'),
  host: text('where', 'a name'),
  flips: toggle('mirror'),
  maps: toggle('as images too', { no: 'as numbers alone' }),
  seed: whole('of the numbers', { min: 0, flag: false, default: 0 }),
}

const parse = (argv: string[]) => {
  const command = tableFlags(new Command().exitOverride().configureOutput({ writeErr: () => {} }), rows)
  return tableValues(command.parse(argv, { from: 'user' }).opts(), rows)
}

describe('a table', () => {
  it('makes flags whose values its own checks take', () => {
    const argv = '--lr 1e-3 --how-many 2 --form square --above auto --box -1,1 --mean 1,2,3 --host here --flips'.split(
      ' ',
    )
    const values = parse(argv)
    expect(values).toEqual({
      ...{
        lr: 1e-3,
        count: 2,
        form: 'square',
        above: 'auto',
        box: [-1, 1],
        mean: [1, 2, 3],
        host: 'here',
        flips: true,
      },
    })
    const read = reader(rows, values)
    for (const name of Object.keys(values) as (keyof typeof rows)[]) expect(read(name)).toEqual(values[name])
    expect(parse(['--above', '2'])).toEqual({ above: 2 })
    expect(parse(['--mults', '1,2,4', '--draws', '3'])).toEqual({ mults: [1, 2, 4], draws: 3 })
    expect(parse(['--mults', 'none', '--no-draws', '--no-maps'])).toEqual({ mults: [], draws: false, maps: false })
    expect(parse([])).toEqual({})
  })

  it.each([
    ['--lr', '0'],
    ['--how-many', '10'],
    ['--how-many', '1.5'],
    ['--form', 'oval'],
    ['--above', 'some'],
    ['--box', '1,1'],
    ['--box', '1'],
    ['--mean', 'a,b'],
    ['--mults', '1,1.5'],
    ['--draws', 'none'],
    ['--seed', '1'],
  ])('refuses %s %s', (flag, value) => {
    expect(() => parse([flag, value])).toThrow()
  })

  it('reads what is given, else the default, and names what is wrong', () => {
    expect(reader(rows, {})('lr')).toBe(0.5)
    expect(reader(rows, { lr: 2 })('lr')).toBe(2)
    for (const [name, value] of [['count', 10], ['form', 'oval'], ['above', 'some'], ['box', [2, 1]], ['mean', ['a']], ['host', ''], ['flips', 1], ['mults', [9]], ['mults', 2], ['draws', true]] as const) // biome-ignore format: one line
      expect(() => reader(rows, { [name]: value })(name)).toThrow(expect.objectContaining({ code: 'FEYNKAC_ARGUMENT', message: expect.stringContaining(name) })) // biome-ignore format: one line
    expect(() => reader(rows, {})('count')).toThrow(/count/)
  })
})

describe('every table of the library', () => {
  const training = { ...lengthRows, ...settingRows, ...holdOutRows, ...previewRows, ...recordRows, ...levelRows, ...pathRows } // biome-ignore format: one line
  it.each(
    Object.entries({
      training,
      readingRows,
      fitRows,
      evaluateRows,
      featureRows,
      httpRows,
      limitRows,
      requestRows,
      runRows,
      targetRows,
      moveRows,
      sampleRows,
      churnRows,
      sigmaGridRows,
      adaptRows,
      calibration: { ...calibrateRows, ...tableRows },
      trained: { ...denoisingRows, ...trainedHeadRows },
      distillRows,
      architectureRows,
      unetRows,
      mlpRows,
      autoencoder: { ...autoencoderRows, ...latentNoiseRows },
      classifier: { ...classifierNetworkRows, ...imageNoiseRows },
    }),
  )('%s: defaults are allowed, and said; flags are one each', (_, table) => {
    // biome-ignore format: one line
    const { options } = tableFlags(new Command(), table)
    for (const [name, row] of Object.entries(table)) {
      expect(row.help, name).toMatch(/^[^\s].*[^.\s]$/)
      if (row.default === undefined) continue
      expect(row.check(name, row.default as never)).toBe(row.default)
      const flag = options.find((option) => option.attributeName() === name)
      if (flag && row.kind !== 'switch') expect(flag.description).toContain(String(row.default))
    }
    expect(new Set(options.map(({ long }) => long)).size).toBe(options.length)
  })
})
