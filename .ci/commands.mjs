import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The main job by the command line in miniature: train, distil, sample, classify; the files, the exit codes and the answer. */

const program = fileURLToPath(new URL('../bin/feynkac.js', import.meta.url))
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-ci-'))
const at = (...parts) => path.join(folder, ...parts)

function feynkac(expected, ...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' })
  assert.equal(status, expected, `feynkac ${args.join(' ')} ended with ${status}\n${stdout}${stderr}`)
  console.log(`exit ${status}: feynkac ${args.join(' ').replaceAll(folder, '.')}`)
  return { stdout, stderr }
}
const result = (...args) => JSON.parse(feynkac(0, ...args, '--json').stdout)

function readNpy(file) {
  const bytes = fs.readFileSync(file)
  const start = 10 + bytes.readUInt16LE(8)
  const data = bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length)
  return bytes.toString('latin1', 10, start).includes("'<f4'") ? new Float32Array(data) : new Float64Array(data)
}

/** Weighted mean and standard deviation of the distance from the centre. */
function radius(samples, weights) {
  const r = Array.from(weights, (_, i) => Math.hypot(samples[2 * i], samples[2 * i + 1]))
  const mean = r.reduce((sum, v, i) => sum + weights[i] * v, 0)
  return { mean, spread: Math.sqrt(r.reduce((sum, v, i) => sum + weights[i] * (v - mean) ** 2, 0)) }
}

try {
  const data = ['--data', 'synthetic:ring', '--seed', '1', '--batch', '256']
  const teacher = result(
    'train',
    ...data,
    '--images',
    '200k',
    '--width',
    '64',
    '--blocks',
    '2',
    '--output',
    at('teacher'),
  )
  const energy = result('distill', '--teacher', teacher.model, ...data, '--images', '100k', '--output', at('energy'))
  for (const run of ['teacher', 'energy'])
    for (const file of ['model.safetensors', 'log.jsonl'])
      assert.ok(fs.statSync(at(run, file)).size > 0, `${run}/${file}`)
  const found = {}
  for (const [name, gamma] of [
    ['plain', '1'],
    ['cold', '4'],
  ]) {
    const smc = ['--particles', '512', '--steps', '48', '--seed', '1', '--gamma', gamma]
    const { evaluations, files } = result('sample', energy.model, ...smc, '--output', at(name))
    assert.deepEqual(files.map((file) => path.basename(file)).sort(), [
      'genealogy.png',
      'result.json',
      'samples.json',
      'samples.npy',
      'weights.npy',
    ])
    assert.equal(evaluations, 512 * 49) // one for each particle and level
    const weights = readNpy(at(name, 'weights.npy'))
    assert.ok(Math.abs(weights.reduce((sum, w) => sum + w, 0) - 1) < 1e-9, 'weights are normalised')
    found[name] = radius(readNpy(at(name, 'samples.npy')), weights)
  }
  console.log('distance from the centre', JSON.stringify(found))
  // the ring's radius is 0.707; a quarter of the temperature halves the spread of its Gaussians
  for (const { mean } of Object.values(found)) assert.ok(Math.abs(mean - Math.SQRT1_2) < 0.1)
  assert.ok(found.cold.spread < 0.8 * found.plain.spread, 'low temperature narrows the ring')

  result('sample', teacher.model, '--particles', '512', '--steps', '24', '--seed', '1', '--output', at('drawn'))
  const to = ['--data', 'synthetic:ring', '--limit', '512', '--seed', '1']
  const [drawn, plain, box] = [at('drawn'), at('plain'), 'synthetic:box'].map((samples) =>
    result('evaluate', '--samples', samples, ...to),
  )
  console.log('the denoiser, the ring', JSON.stringify(drawn.values))
  for (const metric of ['frechet', 'slicedWasserstein', 'mmd'])
    assert.ok(drawn.values[metric] < box.values[metric], `${metric}: the denoiser's ring is nearer than a box`)
  assert.ok(drawn.values.precision > 2 * box.values.precision, 'more of it lies on the ring')
  assert.ok(plain.weighted && !drawn.weighted, 'weights.npy is taken along')
  assert.match(feynkac(0, 'evaluate', '--samples', at('cold'), ...to).stdout, /^note .*effective sample size/m)

  assert.equal(result('inspect', energy.model).kind, 'dot')

  const pictures = ['--data', 'synthetic:shapes:count=1000,size=8', '--seed', '1', '--batch', '32', '--images', '6400']
  const levels = ['--width', '8', '--channel-mult', '1,2', '--lr', '3e-3']
  const classifier = result('train-classifier', ...pictures, ...levels, '--output', at('classifier'))
  console.log('held-out accuracy', JSON.stringify(classifier.accuracy))
  for (const share of Object.values(classifier.accuracy)) assert.ok(share > 0.8, 'far better than chance')
  assert.deepEqual(
    result('inspect', classifier.model).labels.attributes.map(({ name }) => name),
    ['shape', 'place'],
  )
  assert.match(feynkac(2, 'sample', classifier.model, '--output', at('none')).stderr, /holds a classifier/)
  feynkac(0, '--version')
  feynkac(0, 'doctor')
  for (const command of [
    'train',
    'train-classifier',
    'distill',
    'sample',
    'evaluate',
    'experiment',
    'calibrate',
    'demo',
    'inspect',
    'verify',
    'bench',
    'doctor',
  ])
    assert.match(feynkac(0, command, '--help').stdout, /Example:/)

  fs.writeFileSync(at('corrupt.safetensors'), fs.readFileSync(energy.model).subarray(0, 1000))
  for (const file of ['corrupt.safetensors', 'absent.safetensors'])
    assert.match(feynkac(1, 'sample', at(file), '--output', at('none')).stderr, new RegExp(`^feynkac: .*${file}`, 's'))
  feynkac(2, 'train', '--images', 'many')
  feynkac(2, 'sample', energy.model, '--no-such-option')
  feynkac(2, 'no-such-command')
  assert.ok(!fs.existsSync(at('none', 'samples.npy')))
} finally {
  fs.rmSync(folder, { recursive: true })
}
