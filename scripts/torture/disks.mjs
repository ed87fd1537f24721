import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import * as files from './faulty-files.mjs'
import { feynkac, must, trial } from './trial.mjs'

/**
 * Training and sampling on a disk that becomes full at a random level: a file system of its own in memory for root, else every write fails from a random
 * one on. Each time the disk is named, what is there is whole, and with room the run goes on to the same bits.
 */

const { command, jobs, made, prepare } = await import('./jobs.mjs')

function mount(folder, kilobytes) {
  fs.mkdirSync(folder)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'tmpfs', folder], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

await trial(async (random, folder) => {
  await prepare(folder)
  const name = random.pick(['train', 'distill', 'sample'])
  const job = jobs[name]
  const at = (to) => (file) => path.join(folder, job.makes.includes(file) ? to : '', file)
  fs.mkdirSync(path.join(folder, 'roomy'))
  const whole = await command(job.argv(at('roomy')))
  must(whole.status === 0, whole.err)
  const right = made(path.join(folder, 'roomy'), job)
  const small = path.join(folder, 'small')
  const mounted = mount(small, 4 * (1 + random.below(30)))
  try {
    let said
    if (mounted) {
      const { status, said: err } = await feynkac(job.argv(at('small'))).ended
      said = { status, err }
    } else {
      files.arm(folder, { failing: 1 + random.below(200), lasting: true, code: 'ENOSPC' })
      said = await command(job.argv(at('small')))
      files.disarm()
    }
    if (said.status !== 0)
      must(said.status === 1 && /disk is full/.test(said.err), `${name}: ${said.status} ${said.err}`)
    if (mounted) execFileSync('mount', ['-o', 'remount,size=10m', small])
    const next = await command(job.argv(at('small')))
    must(next.status === 0, `${name}, with room: ${next.err}`)
    const found = made(small, job)
    for (const file of Object.keys(right)) {
      if (/\.lock$|checkpoint/.test(file)) continue
      must(found[file]?.equals(right[file]), `${name}, with room: another ${file}`)
    }
  } finally {
    if (mounted) execFileSync('umount', [small])
  }
})
