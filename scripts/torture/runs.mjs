import { command, made, prepare } from './jobs.mjs'
import { feynkac, must } from './trial.mjs'

/** Trainings of every kind that are stopped again and again, and must end as if they had not been. */

const pictures = (seed) => ['--data', `synthetic:shapes:count=20,size=8,seed=${seed}`]
const convolutions = ['--width', '4', '--channel-mult', '1']
const kinds = {
  denoiser: (seed) => ['train', ...pictures(seed), ...convolutions, '--blocks', '1', '--flips'],
  energy: (seed) => ['train', '--head', 'dot', '--data', `synthetic:ring:count=30,seed=${seed}`, '--width', '8'],
  joint: (seed) => ['train', '--head', 'joint', '--data', `synthetic:ring:count=30,seed=${seed}`, '--width', '8'],
  distilled: (_, at) => ['distill', '--teacher', at('teacher.safetensors'), '--data', at('others.npy')],
  autoencoder: (seed) => ['train-autoencoder', ...pictures(seed), ...convolutions, '--latent-channels', '1'],
  classifier: (seed) => ['train-classifier', ...pictures(seed), ...convolutions],
}

/**
 * One training: whole, then with `stop(run, milliseconds)` called on each of its processes until one comes to its end. The number of stops.
 */
export async function interruptedTraining(random, folder, stop) {
  const at = (name) => `${folder}/${name}`
  await prepare(folder)
  const kind = random.pick(Object.keys(kinds))
  const seed = random.below(1000)
  const images = 64 + random.below(256)
  const argv = (output) => [
    ...[
      ...kinds[kind](seed, at),
      '--output',
      output,
      '--images',
      String(images),
      '--batch',
      '8',
      '--seed',
      String(seed),
    ],
    ...['--checkpoint-every', String(8 * (1 + random.below(4))), '--log-every', '8', '--resume', 'auto'],
  ]
  const given = argv(at('broken'))
  const whole = await command(given.map((word) => (word === at('broken') ? at('whole') : word)))
  must(whole.status === 0, `${kind}: ${whole.err}`)
  let stops = 0
  for (;;) {
    const run = feynkac(given)
    // longer and longer, so that it comes to its end on a busy machine too
    const clean = await stop(run, random.below(500 + random.below(2500) * (1 + stops)))
    const { status, signal, said } = await run.ended
    if (status === 0) break
    clean?.({ status, signal, said })
    must(++stops < 40, `${kind}: it never ends`)
  }
  const files = (name) => made(folder, { makes: [name] })
  const right = files('whole')
  const found = files('broken')
  for (const [name, bytes] of Object.entries(right)) {
    const own = found[name.replace('whole', 'broken')]
    if (/\.lock$/.test(name)) continue
    must(own, `${kind}, ${stops} stops: ${name} is missing`)
    if (name.endsWith('model.safetensors')) must(own.equals(bytes), `${kind}, ${stops} stops: another model`)
  }
  const torn = Object.keys(found).filter((name) => /\.tmp$/.test(name))
  must(torn.length === 0, `${kind}, ${stops} stops: left over: ${torn}`)
  const lines = found['broken/log.jsonl'].toString().trim().split('\n').map(JSON.parse)
  const steps = lines.map(({ step }) => step)
  must(new Set(steps).size === steps.length, `${kind}: steps twice in the log: ${steps}`)
  return stops + 1
}
