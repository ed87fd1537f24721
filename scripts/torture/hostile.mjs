import fs from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { zipSync } from 'fflate'
import sharp from 'sharp'
import { writeNpy } from '../../dist/data/npy-write.js'
import { FeynkacError, loadDataset } from '../../dist/index.js'
import { must, started, trial } from './trial.mjs'

/** Damaged files: of weights by scripts/fuzz-parsers.mjs, and of data here. They are read, or refused by a typed error, in little time and memory. */

const pixels = (n) => Uint8Array.from({ length: n }, (_, i) => (i * i) % 251)
const idx = (...shape) => Buffer.concat([Buffer.of(0, 0, 8, shape.length), ...shape.map((n) => Buffer.of(0, 0, n >> 8, n & 255)), pixels(shape.reduce((a, b) => a * b, 1))]) // biome-ignore format: one line

async function seeds(folder) {
  const npy = path.join(folder, 'seed.npy')
  await writeNpy(
    npy,
    Float32Array.from(pixels(64), (v) => v / 255),
    [4, 1, 4, 4],
  )
  const png = await sharp(pixels(192), { raw: { width: 8, height: 8, channels: 3 } })
    .png()
    .toBuffer()
  const jpeg = await sharp(pixels(192), { raw: { width: 8, height: 8, channels: 3 } })
    .jpeg()
    .toBuffer()
  const labels = Buffer.from(JSON.stringify({ labels: [['a/0.png', 1], ['a/1.png', 0]] })) // biome-ignore format: one line
  return {
    'x.npy': fs.readFileSync(npy),
    'x.npz': Buffer.from(zipSync({ 'x.npy': fs.readFileSync(npy), 'y.npy': fs.readFileSync(npy) })),
    'train-images-idx3-ubyte': idx(5, 8, 8),
    'train-images-idx3-ubyte.gz': gzipSync(idx(5, 8, 8)),
    'x.zip': Buffer.from(zipSync({ 'a/0.png': png, 'a/1.png': png, 'dataset.json': labels })),
    'folder/0.png': png,
    'folder/1.jpg': jpeg,
    'data_batch_1.bin': Buffer.concat([Buffer.of(3), pixels(3072), Buffer.of(5), pixels(3072)]),
  }
}

function damaged(bytes, random) {
  let out = Buffer.from(bytes)
  for (let n = 1 + random.below(3); n > 0; n--) {
    const at = random.below(Math.min(out.length, random.pick([16, 128, 1e9])))
    switch (random.below(6)) {
      case 0:
        out[at] = random.below(256)
        break
      case 1:
        out[at] ^= 1 << random.below(8)
        break
      case 2:
        out = out.subarray(0, at)
        break
      case 3:
        out = Buffer.concat([out.subarray(0, at), random.bytes(random.below(64)), out.subarray(at)])
        break
      case 4:
        out.fill(random.pick([0, 255]), at, Math.min(out.length, at + 1 + random.below(8)))
        break
      default:
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + random.below(32))])
    }
    if (out.length === 0) return out
  }
  return out
}

process.on('warning', () => {})
await trial(async (random, folder, seconds) => {
  const files = await seeds(folder)
  let runs = 0
  const began = performance.now()
  while (performance.now() - began < 500 * seconds) {
    const name = random.pick(Object.keys(files))
    const file = path.join(folder, 'input', name)
    fs.rmSync(path.join(folder, 'input'), { recursive: true, force: true })
    fs.mkdirSync(path.dirname(file), { recursive: true })
    const bytes = damaged(files[name], random)
    fs.writeFileSync(file, bytes)
    const before = process.cpuUsage()
    const options = { ...(random.below(3) === 0 && { resize: 4 }), ...(random.below(3) === 0 && { channels: 1 + 2 * random.below(2) }) } // biome-ignore format: one line
    const what = () => `${name} ${bytes.toString('base64').slice(0, 12000)} ${JSON.stringify(options)}`
    try {
      const data = await loadDataset(name.startsWith('folder') ? path.dirname(file) : file, options)
      const out = new Float32Array(data.shape.reduce((a, b) => a * b, 1))
      for (let i = 0; i < data.size; i += 1 + (data.size >> 4)) data.read(i, out, 0)
    } catch (error) {
      must(error instanceof FeynkacError && error.message.length < 3000, `${error.stack}\n${what()}`)
    }
    const { user, system } = process.cpuUsage(before)
    must(user + system < 3e6, `${(user + system) / 1e6} s for ${what()}`)
    must(process.memoryUsage().rss < 1.5e9, `${process.memoryUsage().rss / 1e6} MB after ${what()}`)
    runs++
  }
  const argv = ['scripts/fuzz-parsers.mjs', '--seconds', String(seconds / 2), '--seed', String(random.below(1e6))]
  const { status, said } = await started(argv).ended
  must(status === 0 && /: 0 failed/.test(said), `${argv.join(' ')}: ${said.slice(-3000)}`)
  const [, from, to] = /inputs (\d+) to (-?\d+)/.exec(said)
  return runs + Number(to) - Number(from) + 1
})
