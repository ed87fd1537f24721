import { must, started } from './trial.mjs'

/** Faults of one kind in all jobs, some of each; the number of faults. */
export async function faulty(kind, random, most) {
  const seed = random.below(1e6)
  const argv = ['scripts/torture/faults.mjs', kind, '--most', String(most), '--seed', String(seed)]
  const { status, signal, said } = await started(argv).ended
  must(status === 0, `${argv.join(' ')}: ${signal ?? status}\n${said.slice(-3000)}`)
  return [...said.matchAll(/(\d+) faults/g)].reduce((sum, [, n]) => sum + Number(n), 0)
}
