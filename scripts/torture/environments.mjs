import fs from 'node:fs'
import path from 'node:path'
import { command, jobs, made, prepare } from './jobs.mjs'
import { must, root, started, trial } from './trial.mjs'

/** Commands in strange surroundings: without HOME, in another language or time zone, from a folder that is gone, with nowhere for temporary files. */

const { HOME: _, ...homeless } = process.env
const surroundings = {
  'no HOME': { env: homeless },
  'nothing but PATH': { env: { PATH: process.env.PATH } },
  Turkish: { env: { ...process.env, LC_ALL: 'tr_TR.UTF-8', LANG: 'tr_TR.UTF-8' } },
  'another zone': { env: { ...process.env, TZ: 'Asia/Kathmandu' } },
  'no such zone': { env: { ...process.env, TZ: 'Nowhere/At all' } },
  'no place for temporary files': { env: { ...process.env, TMPDIR: '/nonexistent' } },
  'a folder that is gone': { gone: true },
  'many terms': { terms: 300 },
  'few open files': { files: 40 },
  'no standard output': { closed: true },
}

await trial(async (random, folder) => {
  await prepare(folder)
  const at = (name) => path.join(folder, name)
  const name = random.pick(['train', 'sample', 'evaluate'])
  const job = jobs[name]
  const whole = await command(job.argv((file) => (job.makes.includes(file) ? at(`whole/${file}`) : at(file))))
  must(whole.status === 0, whole.err)
  const right = made(at('whole'), job)
  const what = random.pick(Object.keys(surroundings))
  const { env = process.env, gone, terms, files, closed } = surroundings[what]
  const argv = [path.join(root, 'bin/feynkac.js'), ...job.argv(at), '--threads', '1']
  if (terms && name !== 'sample') return 0
  if (terms) for (let n = 0; n < terms; n++) argv.push('--with', at('energy.safetensors'))
  const options = { env }
  if (gone) {
    options.cwd = at('gone')
    fs.mkdirSync(options.cwd)
  }
  const shell = [process.execPath, ...argv].map((word) => `'${word}'`).join(' ')
  const before = gone ? `rmdir ${at('gone')};` : files ? `ulimit -n ${files};` : ''
  const run = `import('node:child_process').then(({ spawnSync }) => {
    const { status, signal, stdout, stderr } = spawnSync('bash', ['-c', ${JSON.stringify(`${before} exec ${shell} ${closed ? '>&-' : ''}`)}])
    console.log(JSON.stringify({ status, signal, out: String(stdout), err: String(stderr) }))
  })`
  const { said } = await started(['-e', run], options).ended
  const { status, signal, err } = JSON.parse(said)
  const where = `${name}, ${what}`
  must([0, 1, 2].includes(status) && !/unexpected:|^\s+at /m.test(err), `${where}: ${signal ?? status} ${err}`)
  if (status !== 0) return must(/feynkac: /.test(err), `${where}: status ${status} without a word`)
  if (terms) return
  const found = made(folder, job)
  for (const [file, bytes] of Object.entries(right))
    if (!/\.lock$/.test(file)) must(found[file]?.equals(bytes), `${where}: another ${file}`)
})
