// One rank does what its name says while the others wait in an exchange: none may hang.
import { setTimeout as sleep } from 'node:timers/promises'
import { communicator } from '../../dist/index.js'

const what = process.argv[2]
const ranks = await communicator()
await ranks.barrier()
if (what === 'end')
  await sleep(100 * ranks.rank) // all end well, at different times
else if (what === 'differ') await (ranks.rank === 0 ? ranks.barrier() : ranks.allGather(new Float32Array(2)))
else if (ranks.rank < ranks.size - 1) await (what === 'middle' ? sleep(60_000) : ranks.barrier())
else {
  await sleep(100)
  if (what === 'throw') throw new Error('the disk is full here')
  if (what === 'reject') void Promise.reject(new Error('nobody waits for this'))
  if (what === 'exit') process.exit(5)
  if (what === 'early') process.exit(0)
  if (what === 'leave') process.exitCode = 7
  if (what === 'leave') ranks.end()
  if (what === 'middle') setTimeout(() => process.exit(0), 100)
  if (what === 'kill') process.kill(process.pid, 'SIGKILL')
  if (what === 'terminate') process.kill(process.pid, 'SIGTERM')
  if (what === 'usr2') process.kill(process.pid, 'SIGUSR2')
  if (what === 'crash') process.kill(process.pid, 'SIGSEGV')
  if (what === 'reject' || what === 'middle') await ranks.barrier()
  await sleep(60_000)
}
