import { spawnSync } from 'node:child_process'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { communicator, share } from '../lib/index.js'
import { launcher } from '../lib/ranks/launcher.js'
import {
  all,
  begun,
  cli,
  differing,
  network,
  outputFolder,
  path,
  start,
  succeeds,
  train,
  training,
  wanted,
  written,
} from './ranks/launch.js'

/**
 * Several processes under both MPI launchers: what they compute together, and how they end. They take a minute: .ci/ranks runs them, with
 * FEYNKAC_REQUIRE_MPI=1; without it, and without a launcher, what follows from the environment alone is tested.
 */

const under = it.skipIf(!wanted)

let folder = ''
beforeAll(async () => {
  folder = await outputFolder()
})
afterAll(() => rm(folder, { recursive: true }))

describe.each(all)('%s', (mpi) => {
  under('shares collective operations and work', () => succeeds(mpi, 4, path('ranks/exchange.mjs')))

  under('shares particles, with the samples, weights, ancestors and log Z of one process', async () => {
    const { out } = await succeeds(mpi, mpi === 'openmpi' ? 2 : 3, path('ranks/smc.mjs'))
    expect(out).toMatch(/runs of [23] ranks are those of one/)
  })

  under('shares samples without weights, calibrations and evaluations, to the bit of one process', async () => {
    const { out } = await succeeds(mpi, 3, path('ranks/work.mjs'))
    expect(out).toMatch(/work of 3 ranks is that of one/)
  })

  under('trains to the bytes of one process', async () => {
    const one = join(folder, `${mpi}-one`)
    expect(spawnSync(process.execPath, train('--output', one)).status).toBe(0)
    for (const ranks of mpi === 'openmpi' ? [2, 3] : [4]) {
      const several = join(folder, `${mpi}-${ranks}`)
      await succeeds(mpi, ranks, ...train('--output', several))
      expect(differing(await written(several), await written(one))).toEqual([])
    }
  })

  under('measures its speed for minutes, and trains to the bytes of one process for as many images', async () => {
    const [several, one] = [join(folder, `${mpi}-minutes`), join(folder, `${mpi}-images`)]
    const words = train('--minutes', '0.02', '--output', several)
    words.splice(words.indexOf('--images'), 2)
    const { err } = await succeeds(mpi, 3, ...words)
    const images = /(\d+) images, /.exec(err)![1]!
    expect(spawnSync(process.execPath, train('--images', images, '--output', one)).status).toBe(0)
    expect(differing(await written(several), await written(one))).not.toContain('model.safetensors')
  })

  under.each([
    ['end', 0, /^$/],
    ['throw', 1, /feynkac \[rank 2 [^\]]+\]: Error: the disk is full here/],
    ['exit', 5, /feynkac \[rank 2 [^\]]+\]: it exits with 5: all ranks are ended/],
    ['early', 1, /\[rank 2 [^\]]+\]: it ended, but others still work after 1 s: all ranks are ended/],
    ['leave', 7, /\[rank 2 [^\]]+\]: it ended, but others still work after 1 s: all ranks are ended/],
    ['middle', 1, /\[rank 2 [^\]]+\]: it ended in the middle of an exchange \(barrier\): all ranks are ended/],
    ['kill', mpi === 'openmpi' ? 137 : 9, /Killed|EXIT CODE: 9/],
    ['terminate', mpi === 'openmpi' ? 143 : 15, /Terminated|EXIT CODE: 15/],
    // Hydra gives the bits of all statuses, and may have ended the others by 9
    ['usr2', mpi === 'openmpi' ? [140] : [12, 13], /User defined signal 2|EXIT CODE: (9|12)/],
    ['crash', mpi === 'openmpi' ? 139 : 11, /Segmentation fault|EXIT CODE: 11/],
    ['reject', 1, /feynkac \[rank 2 [^\]]+\]: .*nobody waits for this/],
    ['differ', 1, /exchange 2 of the ranks differs: barrier of 0 bytes on rank 0, allGather of \d+ bytes on rank [12]/],
  ])('ends all ranks where one does: %s', async (what, code, message) => {
    const env = { FEYNKAC_PATIENCE: '1', FEYNKAC_CHECK_RANKS: what === 'differ' ? '1' : '0' }
    const { ended } = start(mpi, 3, [path('ranks/behave.mjs'), what], env)
    const found = await ended
    expect(found.err + found.out).toMatch(message)
    expect([code].flat()).toContain(found.code)
  })

  under('says which library it is where there is none, or another launcher’s', async () => {
    const none = await start(mpi, 2, [cli, 'doctor'], { FEYNKAC_MPI: 'libnone.so' }).ended
    expect(none.err).toMatch(/started 2 processes, but MPI does not: no MPI library loads: libnone\.so/)
    const other = { openmpi: 'libmpich.so.12', mpich: 'libmpi.so.40' }[mpi]
    const wrong = await start(mpi, 2, [cli, 'doctor'], { FEYNKAC_MPI: other }).ended
    expect(wrong.err).toMatch(/started 2 processes, but .* sees 1: it is another launcher's/)
    expect([none.code, wrong.code]).toEqual([1, 1])
  })

  under('doctor describes the ranks', async () => {
    const { out } = await succeeds(mpi, 2, cli, 'doctor', '--json')
    const { ranks } = JSON.parse(out)
    expect(ranks.library).toContain(`${mpi} interface`)
    expect(ranks.ranks).toHaveLength(2)
    expect(ranks.exchange.large).toBeGreaterThan(ranks.exchange.small)
  })

  under.each([
    ['SIGTERM', [143]],
    ['SIGINT', [130, 143]],
    ['SIGUSR2', [140, 143]], // the launcher gives one rank's status, or the bits of all: the others end with 143
  ] as const)('%s to one rank stops all after the same step, with a checkpoint', async (signal, statuses) => {
    const output = join(folder, `${mpi}-${signal}`)
    const run = start(mpi, 2, train('--images', '1000000', '--output', output))
    await begun(output, run.ended)
    const holder = /process (\d+)/.exec(await readFile(join(output, '.lock'), 'utf8'))![1]
    process.kill(Number(holder), signal)
    const { code, err } = await run.ended
    expect(err).toMatch(/stopped; resume with: feynkac train --resume/)
    expect(statuses).toContain(code)
  })

  under('SIGINT to the launcher leaves whole files, from which any number of ranks goes on', async () => {
    const words = (output: string) => train('--images', '3000', '--resume', 'auto', '--output', join(folder, output)) // of which the ranks may see a second's more
    const [unbroken, broken] = [`${mpi}-unbroken`, `${mpi}-interrupted`]
    expect(spawnSync(process.execPath, words(unbroken)).status).toBe(0)
    const run = start(mpi, 2, words(broken))
    await begun(join(folder, broken), run.ended)
    run.child.kill('SIGINT')
    const { code } = await run.ended
    expect(mpi === 'openmpi' ? [1] : [0, 130]).toContain(code) // of the launcher; Open MPI's kills the ranks after a second
    expect(await readdir(join(folder, broken))).not.toContain('model.safetensors')
    await succeeds(mpi, 3, ...words(broken))
    const [ended, whole] = [await written(join(folder, broken)), await written(join(folder, unbroken))]
    expect(differing(ended, whole).filter((name) => name !== 'log.jsonl')).toEqual([]) // whose bins begin anew
  })
})

under('goes on under another MPI to the bits of an unbroken run: energies, with walks and levels', async () => {
  const teacher = join(folder, 'teacher')
  const energy = (output: string, ...more: string[]) => [
    ...[cli, 'distill', ...training, '--teacher', join(teacher, 'model.safetensors'), '--output', join(folder, output)],
    ...['--images', '240', '--head', 'residual', '--path-weight', '0.5', '--no-calibrate', '--resume', 'auto', ...more],
  ]
  await succeeds('mpich', 2, ...train('--output', teacher))
  expect(spawnSync(process.execPath, energy('unbroken')).status).toBe(0)
  const broken = start('openmpi', 3, energy('broken'))
  await begun(join(folder, 'broken'), broken.ended)
  broken.child.kill('SIGTERM')
  expect((await broken.ended).code).not.toBe(0)
  await succeeds('mpich', 4, ...energy('broken'))
  const [ended, whole] = [await written(join(folder, 'broken')), await written(join(folder, 'unbroken'))]
  for (const name of ['model.safetensors', 'checkpoint-000000020.safetensors'])
    expect(ended[name] === whole[name], name).toBe(true)
})

under('autoencoders and classifiers, too', async () => {
  for (const [name, ...more] of [
    ['train-autoencoder', ...network],
    ['train-classifier', ...network],
  ]) {
    const words = (output: string) => [cli, name!, ...training, ...more, '--output', join(folder, `${name}-${output}`)]
    expect(spawnSync(process.execPath, words('one')).status).toBe(0)
    await succeeds('openmpi', 3, ...words('three'))
    const [three, one] = [await written(join(folder, `${name}-three`)), await written(join(folder, `${name}-one`))]
    expect(differing(three, one)).toEqual([])
  }
})

describe('without a launcher', () => {
  it('a process is alone, and exchanges with itself', async () => {
    const ranks = await communicator()
    expect([ranks.rank, ranks.size, ranks.library]).toEqual([0, 1, null])
    expect(await ranks.allGather(Float64Array.of(1, 2))).toEqual(Float64Array.of(1, 2))
    expect(await ranks.allToAll(Int32Array.of(3), [1], [1])).toEqual(Int32Array.of(3))
    expect(await ranks.any(true)).toBe(true)
    expect(await share(ranks, ['a', 'b'], (text, i) => text + i)).toEqual(['a0', 'b1'])
    await expect(ranks.allGather(Float64Array.of(1), [2])).rejects.toThrow(/counts of 1 values in all/)
    const into = new Int32Array(1)
    expect(await ranks.allGather(Int32Array.of(4), [1], into)).toBe(into)
    expect(into).toEqual(Int32Array.of(4))
    for (const other of [new Int32Array(2), new Uint8Array(1) as unknown as Int32Array])
      await expect(ranks.allGather(Int32Array.of(4), [1], other)).rejects.toThrow(
        /another Int32Array of 1 values for into/,
      )
  })

  it('tells launchers by their variables', () => {
    const openMpi = { OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '4' }
    expect(launcher(openMpi)).toMatchObject({ name: 'mpirun (Open MPI)', rank: 1, size: 4 })
    expect(launcher({ PMI_RANK: '0', PMI_SIZE: '2' })?.name).toBe('mpiexec (Hydra)')
    const step = { SLURM_PROCID: '3', SLURM_STEP_NUM_TASKS: '8', SLURM_LOCALID: '1' }
    expect(launcher(step)).toMatchObject({ name: 'srun', rank: 3, size: 8, localRank: 1 })
    expect(launcher({ SLURM_PROCID: '0', SLURM_NTASKS: '8' })).toBeNull() // a batch script
    expect(launcher({ ...openMpi, FEYNKAC_MPI: '/opt/libmpi.so' })?.libraries).toEqual(['/opt/libmpi.so'])
    expect(launcher({ PMI_RANK: 'x', PMI_SIZE: '2' })).toBeNull()
  })
})
