import { spawn } from 'node:child_process'
import { expect, it } from 'vitest'

/** Worker threads that use the addon and end, idle or in the middle of a job. */

const use = `import(process.env.ENTRY).then(({ gaussianMixture, setThreads }) => {
  setThreads(4)
  const mixture = gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] })
  return mixture.energyGrad(new Float32Array(4e5), 0.5)
})`
const endsBusy = `${use}.catch(() => {}); setTimeout(() => process.exit(), 60)`
const main = `
import { Worker } from 'node:worker_threads'
if (process.argv[1] === 'main') await ${use}
for (const code of process.argv.slice(2))
  await new Promise((done) => new Worker(code, { eval: true }).once('exit', done))
console.log('all have ended')`

it.each(['main', 'workers'])('the addon in use by %s', async (who) => {
  const code = ['--input-type=module', '-e', main, who, endsBusy, use, endsBusy, use]
  const env = { ...process.env, ENTRY: new URL('../dist/index.js', import.meta.url).href }
  const child = spawn(process.execPath, code, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (data) => (output += data))
  const ended = await new Promise((done) => child.on('close', (...how) => done(how)))
  expect(ended).toEqual([0, null])
  expect(output).toBe('all have ended\n')
})

/** The energy of a network, and what its kernels are, or the error's code. */
const computed = `import(process.env.ENTRY).then(async ({ devices, EnergyModel, songUNet }) => {
  const network = songUNet([1, 8, 8], { model_channels: 8, channel_mult: [1], num_blocks: 1 })
  const model = await EnergyModel.create({ network, kind: 'dot' }, { device: 'cpu', seed: 1 })
  const { grad } = await model.energyGrad(Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)), 1)
  return [devices().find(({ name }) => name === 'cpu').description, grad[5]]
}).catch(({ code }) => [code]).then((found) => console.log(JSON.stringify(found)))`

it('FEYNKAC_ISA chooses the instruction set', async () => {
  const run = async (isa: string): Promise<[string, number]> => {
    const env = { ...process.env, FEYNKAC_ISA: isa, ENTRY: new URL('../dist/index.js', import.meta.url).href }
    const child = spawn(process.execPath, ['-e', computed], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', (data) => (output += data))
    await new Promise((done) => child.on('close', done))
    return JSON.parse(output)
  }
  const [description, expected] = await run('baseline')
  expect(description).toMatch(/\(baseline\)/)
  for (const isa of ['avx2', 'avx512']) {
    const [what, value] = await run(isa)
    if (value === undefined)
      expect(what).toBe('FEYNKAC_ARGUMENT') // the machine has none
    else expect(value / expected).toBeCloseTo(1, 5)
  }
  expect(await run('sse')).toEqual(['FEYNKAC_ARGUMENT'])
})

it.skipIf(process.platform !== 'linux')('jobs share a thread, which ends when it has rested', async () => {
  const counting = `import(process.env.ENTRY).then(async ({ gaussianMixture, setThreads }) => {
    const { readdirSync } = await import('node:fs')
    const threads = () => readdirSync('/proc/self/task').length
    setThreads(1)
    const mixture = gaussianMixture({ weights: [1], means: [[0]], covariances: [1] })
    const before = threads()
    for (let i = 0; i < 50; i++) await mixture.energyGrad(new Float32Array(4), 0.5)
    const after = threads()
    const ended = Date.now() + 20000
    while (threads() > before && Date.now() < ended) await new Promise((done) => setTimeout(done, 100))
    console.log(JSON.stringify([after - before, threads() - before]))
  })`
  const env = { ...process.env, ENTRY: new URL('../dist/index.js', import.meta.url).href }
  const child = spawn(process.execPath, ['-e', counting], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (data) => (output += data))
  await new Promise((done) => child.on('close', done))
  const [more, left] = JSON.parse(output)
  expect(more).toBeLessThan(10) // a thread may not have come to rest yet when the next job starts
  expect(left).toBeLessThanOrEqual(0)
})
