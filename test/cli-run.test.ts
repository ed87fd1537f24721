import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'

/** Commands in processes of their own: what signals, a full disk and a kill leave behind. */

const entry = fileURLToPath(new URL('../dist/cli/index.js', import.meta.url))
const program = `import { main } from ${JSON.stringify(entry)}; process.exitCode = await main(process.argv.slice(2))`

let folder = ''
beforeAll(() => {
  if (!existsSync(entry)) throw new Error('dist/ is missing: npm run build:ts')
})
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-run-'))
  await writeFile(join(folder, 'feynkac.mjs'), program)
})
afterEach(() => rm(folder, { recursive: true }))

/** Runs a command; fileBlocks: the largest file it may write, in KiB. */
function start(argv: string[], { fileBlocks }: { fileBlocks?: number } = {}) {
  const node = [process.execPath, join(folder, 'feynkac.mjs'), ...argv]
  const child = fileBlocks
    ? spawn('bash', ['-c', `ulimit -f ${fileBlocks}; exec "$@"`, 'bash', ...node])
    : spawn(node[0]!, node.slice(1))
  let [out, err] = ['', '']
  child.stdout.on('data', (data) => {
    out += data
  })
  child.stderr.on('data', (data) => {
    err += data
  })
  const ended = new Promise<{ code: number | null; signal: string | null; out: string; err: string }>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, out, err })),
  )
  return { child, ended }
}

// one thread: these networks are too small for more, and the machine may be busy
const run = (argv: string[], options?: { fileBlocks?: number }) =>
  start(argv.includes('--threads') ? argv : [...argv, '--threads', '1'], options).ended

const network = ['--width', '8', '--channel-mult', '1,2', '--blocks', '1']
const training = (output: string, images = 320) => [
  ...['train', '--data', 'synthetic:shapes:count=50,size=8,seed=1', '--output', output, '--images', String(images)],
  ...['--batch', '8', '--micro-batch', '5', '--checkpoint-every', '32', '--log-every', '80', '--seed', '4', '--flips'],
  ...['--threads', '1', '--json', ...network],
]

/** Waits until a run has written a checkpoint of this step or a later one. */
async function reached(output: string, step: number): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    const names = await readdir(output).catch(() => [])
    if (names.some((name) => Number(/^checkpoint-(\d+)\.safetensors$/.exec(name)?.[1] ?? -1) >= step)) return
    await sleep(25)
  }
  throw new Error(`no checkpoint of step ${step} in ${output}`)
}

describe('a run that is stopped', () => {
  it('by kill -9, twice, resumes and ends with the bits of an unbroken one', async () => {
    const [whole, broken] = [join(folder, 'whole'), join(folder, 'broken')]
    const unbroken = await run(training(whole))
    expect(unbroken).toMatchObject({ code: 0, out: expect.stringMatching(/^\{"model":.*\}\n$/) })
    expect(JSON.parse(unbroken.out)).toMatchObject({ steps: 40, images: 320 })
    const first = start(training(broken))
    await reached(broken, 8)
    first.child.kill('SIGKILL')
    expect((await first.ended).signal).toBe('SIGKILL')
    expect(existsSync(join(broken, 'model.safetensors'))).toBe(false)
    const resume = ['train', '--resume', '--output', broken, '--threads', '2', '--checkpoint-every', '24', '--json']
    const second = start(resume)
    await reached(broken, 24)
    second.child.kill('SIGKILL')
    await second.ended
    const last = await run(resume)
    expect(last).toMatchObject({ code: 0 })
    const model = (path: string) => readFile(join(path, 'model.safetensors'))
    expect((await model(broken)).equals(await model(whole))).toBe(true)
    const steps = (await readFile(join(broken, 'log.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).step)
    expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b))
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('by %s writes a checkpoint, says how to resume and exits with %d', async (signal, code) => {
    const output = join(folder, 'run')
    const { child, ended } = start(training(output, 1_000_000))
    await reached(output, 4)
    child.kill(signal)
    const result = await ended
    expect(result).toMatchObject({ code, out: '' })
    expect(result.err).toMatch(/stopped; resume with: feynkac train --resume --output ".*run"/)
    const resume = ['train', '--resume', '--output', output, '--json', '--images']
    const shorter = await run([...resume, '8'])
    expect(shorter.code).toBe(2)
    const seen = /has seen (\d+) images already, more than 8/.exec(shorter.err)![1]
    const resumed = await run([...resume, seen])
    expect(resumed.code).toBe(0)
    expect(JSON.parse(resumed.out).steps).toBeGreaterThanOrEqual(4)
  })

  it('by a file size limit leaves a good checkpoint and names it', async () => {
    const output = join(folder, 'run')
    // room for a checkpoint, not for one of a wider network
    expect((await run(training(output, 32))).code).toBe(0)
    const [checkpoint] = (await readdir(output)).filter((name) => name.startsWith('checkpoint')).sort()
    const size = (await stat(join(output, checkpoint!))).size
    const result = await run(training(join(folder, 'other'), 32), { fileBlocks: Math.floor(size / 2048) })
    expect(result).toMatchObject({ code: 1, out: '' })
    expect(result.err).toMatch(/training stopped: cannot write .*There is no checkpoint yet/)
    const resume = ['train', '--resume', '--output', output, '--images', '64']
    const cut = await run(resume, { fileBlocks: Math.floor(size / 2048) })
    expect(cut.code).toBe(1)
    expect(cut.err).toMatch(/The last good checkpoint is .*checkpoint-000000004\.safetensors/)
    expect((await run(resume)).code).toBe(0)
  })
})

describe('from data to samples', () => {
  it('trains, distils, inspects and samples', async () => {
    const [teacher, energy, samples] = ['teacher', 'energy', 'samples'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ]
    expect((await run(training(teacher, 64))).code).toBe(0)
    const file = join(teacher, 'model.safetensors')
    const data = ['--data', 'synthetic:shapes:count=50,size=8,seed=1', '--images', '64', '--batch', '8', '--json']
    const distilled = await run(['distill', '--teacher', file, '--output', energy, ...data])
    expect(distilled.err).not.toMatch(/feynkac:/)
    expect(distilled.code).toBe(0)
    expect(distilled.err).toMatch(
      /^64 images, 1\.3 times 50 samples: batch 8, lr 0\.001 falling to 0 over the last 50 %/,
    )
    const { model, recipe, heldOutLoss } = JSON.parse(distilled.out)
    expect(heldOutLoss).toBeNull()
    const inspected = JSON.parse((await run(['inspect', model, '--json'])).out)
    expect(inspected).toMatchObject({
      kind: 'dot',
      headScale: 1,
      training: { images: 64, heldOut: null, ...recipe },
      labels: { attributes: [{ name: 'shape' }, { name: 'place' }] },
    })
    for (const need of inspected.memory) expect(need.largestBatch.cpu).toBeGreaterThan(need.bytes > 0 ? 64 : 0)

    const composed = ['--attributes', 'shape=1', '--with', 'place=2', '--divide-prior', '--gamma', '1.5']
    const drawn = await run([
      'sample',
      model,
      '--output',
      samples,
      '--particles',
      '9',
      '--steps',
      '6',
      '--json',
      ...composed,
    ])
    expect(drawn.err).not.toMatch(/feynkac:/)
    const summary = JSON.parse(drawn.out)
    expect(summary).toMatchObject({ method: 'smc', particles: 9, evaluations: 9 * 3 * 7 })
    const written = [
      'genealogy.png',
      'levels',
      'levels.jsonl',
      'result.json',
      'samples.json',
      'samples.npy',
      'samples.png',
      'weights.npy',
    ]
    expect((await readdir(samples)).sort()).toEqual(written)
    expect(drawn.err).toMatch(/ESS [\d.]+ \| roots \d+ of 9/)
    const report = JSON.parse(await readFile(join(samples, 'samples.json'), 'utf8'))
    expect(report.levels).toHaveLength(7)
    expect(drawn.err.match(/^warning: .*$/gm) ?? []).toEqual(report.warnings.map((text: string) => `warning: ${text}`))

    const placed = '--particles 4 --steps 3 --adapt-levels 0.4 --weigh-above 0.5 --attributes shape=1 --json'.split(' ')
    const adapted = await run(['sample', model, '--output', samples, '--overwrite', ...placed])
    expect(adapted.err).toMatch(/\d+ steps where \d+ evaluations/)
    const { sigmas, levels: reports } = JSON.parse(await readFile(join(samples, 'samples.json'), 'utf8'))
    expect(sigmas.slice(0, reports.length)).toEqual(reports.map(({ sigma }: { sigma: number }) => sigma))
    expect(sigmas).toEqual(sigmas.toSorted((a: number, b: number) => b - a))

    const ignored = await run([
      'sample',
      model,
      '--output',
      samples,
      '--overwrite',
      '--method',
      'ancestral',
      '--ess-after',
      '0.8',
    ])
    expect(ignored).toMatchObject({ code: 2, err: expect.stringMatching(/--ess-after goes with --method smc/) })
    const driftless = await run([
      'sample',
      model,
      '--output',
      samples,
      '--overwrite',
      '--method',
      'sde',
      '--control-drift',
    ])
    expect(driftless).toMatchObject({ code: 2, err: expect.stringMatching(/--control-drift goes with --method smc/) })

    const ode = ['sample', file, '--output', samples, '--overwrite', '--particles', '4', '--steps', '3', '--json']
    const plain = await run([...ode, '--method', 'ancestral', '--attributes', 'shape=1', '--guidance', '2'])
    expect(JSON.parse(plain.out)).toMatchObject({ method: 'ancestral' })
    expect(await readdir(samples), 'weights of the run before').not.toContain('weights.npy')
    const wrong = await run([...ode, '--gamma', '2'])
    expect(wrong).toMatchObject({ code: 2, out: '', err: expect.stringMatching(/distil it first/) })
    const cuda = await run([...ode, '--device', 'cuda:99'])
    expect(cuda).toMatchObject({ code: 1, err: expect.stringMatching(/CUDA/i) })
  })

  it('trains an energy and its denoiser at once', async () => {
    const [output, samples] = [join(folder, 'joint'), join(folder, 'joint-samples')]
    const trained = await run([...training(output, 64), '--head', 'joint', '--energy-weight', '0.5'])
    expect(trained.err).not.toMatch(/feynkac:/)
    const model = join(output, 'model.safetensors')
    const inspected = JSON.parse((await run(['inspect', model, '--json'])).out)
    expect(inspected).toMatchObject({ kind: 'joint', headScale: 0.5 })
    expect(inspected.memory.map(({ job }: { job: string }) => job)[0]).toBe('energy and score')
    const drawn = await run([
      'sample',
      model,
      '--output',
      samples,
      '--overwrite',
      '--particles',
      '4',
      '--steps',
      '3',
      '--json',
    ])
    expect(JSON.parse(drawn.out)).toMatchObject({ method: 'smc', evaluations: 4 * 4 })
    const wrong = await run([...training(join(folder, 'none'), 64), '--energy-weight', '1'])
    expect(wrong).toMatchObject({ code: 2, err: expect.stringMatching(/--head joint/) })
  })

  it('passes on how levels are classified', async () => {
    const output = join(folder, 'levelled')
    const flags = ['--head', 'dot', '--no-labels', '--level-weight', '0.5', '--levels', '2', '--level-batch', '3']
    const trained = await run([...training(output, 64), ...flags])
    expect(trained.err).not.toMatch(/feynkac:/)
    const model = join(output, 'model.safetensors')
    expect(JSON.parse((await run(['inspect', model, '--json'])).out)).toMatchObject({ kind: 'dot' })
    const wrong = await run([...training(join(folder, 'none'), 64), '--level-weight', '1'])
    expect(wrong).toMatchObject({ code: 2, err: expect.stringMatching(/--head/) })
  })
})
