import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { must, root, started, trial } from './trial.mjs'

/** Threads that use the addon, alone or several at once, and end in every way at random times; the process must end as it should. */

const entry = pathToFileURL(path.join(root, 'dist/index.js')).href
const program = `
import { Worker, isMainThread } from 'node:worker_threads'
const use = \`import('${entry}').then(async ({ gaussianMixture, product, setThreads, smc, EnergyModel, residualMLP }) => {
  setThreads(2)
  const mixture = gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] })
  const network = await EnergyModel.create({ network: residualMLP(2, { hidden: 16, layers: 2 }), kind: 'dot' }, { seed: 1 })
  for (;;) {
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Error('enough')), Math.random() * 30)
    const { signal } = controller
    await Promise.allSettled([
      mixture.energyGrad(new Float32Array(2e5), 0.5, { signal }),
      smc(product([mixture, network]), { particles: 500, sigmas: [2, 1, 0.5], signal }),
    ])
  }
})\`
const ends = {
  exits: \`setTimeout(() => process.exit(0), WHEN);\`,
  throws: \`setTimeout(() => { throw new Error('on purpose') }, WHEN);\`,
  terminated: '',
}
const [main, ...list] = process.argv.slice(2)
if (main === 'too') import('${entry}').then(({ setThreads }) => setThreads(2))
let running = []
for (const item of list) {
  const [how, when, alone] = item.split(',')
  const worker = new Worker(ends[how].replace('WHEN', when) + use, { eval: true })
  worker.on('error', (error) => { if (error.message !== 'on purpose') { console.error(error); process.exitCode = 9 } })
  const end = new Promise((done) => worker.once('exit', done))
  if (how === 'terminated') setTimeout(() => worker.terminate(), Number(when))
  running.push(end)
  if (alone === 'alone') { await Promise.all(running); running = [] }
}
await Promise.all(running)
console.log('all have ended')`

await trial(async (random) => {
  const list = Array.from({ length: 3 + random.below(4) }, () =>
    [random.pick(['exits', 'throws', 'terminated']), random.below(1500), random.pick(['alone', 'together'])].join(),
  )
  const argv = ['--input-type=module', '-e', program, random.pick(['too', 'not']), ...list]
  const { status, signal, said } = await started(argv).ended
  must(
    status === 0 && said.endsWith('all have ended\n'),
    `${argv.slice(3).join(' ')}: ${signal ?? status}\n${said.slice(-2000)}`,
  )
  return list.length
})
