import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { all, begun, differing, outputFolder, path, start, succeeds, train, wanted, written } from './ranks/launch.js'

/**
 * Every kind of training by every number of ranks under both MPI launchers, and what takes long: FEYNKAC_TEST_FULL=1 .ci/ranks, of which a small
 * part is in ranks.test.ts.
 */

const whole = it.skipIf(!wanted || process.env.FEYNKAC_TEST_FULL !== '1')
const MINUTES = 60_000

const kinds = [
  ...[
    'denoiser',
    'denoiser-images',
    'denoiser-half',
    'denoiser-plain',
    'joint',
    'joint-images',
    'autoencoder',
    'classifier',
  ],
  ...['dot', 'l2', 'norm', 'residual', 'images'].map((form) => `energy-${form}`),
  ...['dot', 'l2', 'norm', 'residual', 'path', 'own', 'table'].map((form) => `distil-${form}`),
]

let folder = ''
let unbroken = ''
let teacher = ''
const trained = (output: string, ...more: string[]) => [path('ranks/train.mjs'), join(folder, output), teacher, ...more]

beforeAll(async () => {
  folder = await outputFolder()
  unbroken = join(folder, 'one')
  teacher = join(unbroken, 'denoiser', 'model.safetensors')
  if (!wanted || process.env.FEYNKAC_TEST_FULL !== '1') return
  const one = spawnSync(process.execPath, trained('one'), { encoding: 'utf8' })
  expect(one.status, one.stderr).toBe(0)
})
afterAll(() => rm(folder, { recursive: true }))

/** Files that are not those of one process. */
async function different(output: string, kind: string): Promise<string[]> {
  return differing(await written(join(folder, output, kind)), await written(join(unbroken, kind)))
}

whole('there is one of each kind', () => expect(readdirSync(unbroken).sort()).toEqual([...kinds].sort()))

describe.each(all)('%s', (mpi) => {
  whole.each([2, 3, 4])(
    '%i ranks train to the bytes of one process: model, checkpoints and log',
    async (ranks) => {
      const output = `${mpi}-${ranks}`
      await succeeds(mpi, ranks, ...trained(output))
      for (const kind of kinds) expect(await different(output, kind), kind).toEqual([])
    },
    5 * MINUTES,
  )

  whole(
    'a rank that hangs does not keep the others from their end',
    async () => {
      const output = join(folder, `${mpi}-hung`)
      const words = [path('ranks/with-pid.mjs'), ...train('--images', '1000000', '--output', output).slice(1)]
      const run = start(mpi, 2, words, { PIDS: folder, FEYNKAC_PATIENCE: '5' })
      await begun(output, run.ended)
      const pid = async (rank: number) => Number(await readFile(join(folder, `rank-${rank}`), 'utf8'))
      process.kill(await pid(1), 'SIGSTOP')
      process.kill(await pid(0), 'SIGTERM')
      const { code, err } = await run.ended
      expect(err).toMatch(
        /\[rank 0 [^\]]+\]: (it exits with 143|it ended, but others still work after 5 s): all ranks are ended/,
      )
      expect(code).toBe(143)
    },
    2 * MINUTES,
  )
})

whole.each(kinds.map((kind, i) => [kind, i] as const))(
  '%s: a lost rank, and others go on under the other MPI',
  async (kind, i) => {
    const [first, second] = i % 2 === 0 ? all : [...all].reverse()
    const lost = await start(first!, 3, trained('lost', kind, 'kill')).ended
    expect(first === 'openmpi' ? 137 : 9, lost.err).toBe(lost.code)
    expect(readdirSync(join(folder, 'lost', kind))).not.toContain('model.safetensors')
    await succeeds(second!, i % 4 < 2 ? 2 : 4, ...trained('lost', kind))
    expect(await different('lost', kind)).toEqual([])
  },
)
