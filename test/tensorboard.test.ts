import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { EventFile } from '../lib/data/event-file.js'
import { trainDenoiser } from '../lib/index.js'

/**
 * TensorBoard's event files against the format's description, byte by byte: core/lib/io/record_writer.h (TFRecord, masked CRC-32C), core/util/event.proto
 * and core/framework/summary.proto of TensorFlow, and the wire format of protocol buffers. The reader here shares nothing with the writer. Where there is
 * TensorBoard (pip install tensorboard), its own reader too.
 */

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-events-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** CRC-32C bit by bit (RFC 3720, B.4). */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffffn
  for (const byte of bytes) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n
  }
  return Number(crc ^ 0xffffffffn)
}
const masked = (bytes: Uint8Array) => {
  const crc = BigInt(crc32c(bytes))
  return Number(((((crc >> 15n) | (crc << 17n)) & 0xffffffffn) + 0xa282ead8n) & 0xffffffffn)
}

function records(file: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at))
    expect(file.readUInt32LE(at + 8)).toBe(masked(file.subarray(at, at + 8)))
    const record = file.subarray(at + 12, at + 12 + length)
    expect(file.readUInt32LE(at + 12 + length)).toBe(masked(record))
    found.push(record)
    at += 16 + length
  }
  return found
}

/** [field, value] of a message: Numbers for varints, doubles and floats, Buffers for what has a length. */
function fields(message: Buffer): [number, number | Buffer][] {
  const found: [number, number | Buffer][] = []
  let at = 0
  const varint = () => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++]!
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  const taken = (length: number) => {
    at += length
    return message.subarray(at - length, at)
  }
  while (at < message.length) {
    const tag = varint()
    const field = Math.floor(tag / 8)
    if (tag % 8 === 0) found.push([field, varint()])
    else if (tag % 8 === 1) found.push([field, taken(8).readDoubleLE()])
    else if (tag % 8 === 5) found.push([field, taken(4).readFloatLE()])
    else {
      expect(tag % 8).toBe(2)
      const length = varint()
      found.push([field, taken(length)])
    }
  }
  return found
}
const one = (message: Buffer, field: number) => fields(message).find(([name]) => name === field)?.[1]

/** Values of an event's summary by their tags: numbers, and of images [height, width, colours, bytes]. */
function summary(event: Buffer): Record<string, unknown> {
  const content = one(event, 5) as Buffer
  return Object.fromEntries(
    fields(content).map(([field, value]) => {
      expect(field).toBe(1)
      const image = one(value as Buffer, 4) as Buffer | undefined
      return [String(one(value as Buffer, 1)), image ? fields(image).map(([, part]) => part) : one(value as Buffer, 2)]
    }),
  )
}

it('are the bytes that the description asks for', async () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283) // the check value of CRC-32C
  const file = await EventFile.open(folder, 0, 1_500_000_000_250)
  expect(file.path).toMatch(/events\.out\.tfevents\.1500000000\./)
  await file.add(300, { scalars: { a: 0.5, lost: Number.NaN, none: null } }, 1_500_000_001_000)
  const bytes = await readFile(file.path)
  const header = Buffer.concat([Buffer.from([0x09]), doubles(1_500_000_000.25), Buffer.from([0x10, 0, 0x1a, 13]), Buffer.from('brain.Event:2')]) // biome-ignore format: one line
  const value = Buffer.from([0x0a, 1, 0x61, 0x15, 0, 0, 0, 0x3f])
  const scalar = Buffer.concat([Buffer.from([0x09]), doubles(1_500_000_001), Buffer.from([0x10, 0xac, 0x02, 0x2a, 10, 0x0a, 8]), value]) // biome-ignore format: one line
  expect(records(bytes)).toEqual([header, scalar])
})

function doubles(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return bytes
}

it('hold what the log of a run has, with pictures; a run that goes on says from where', {
  timeout: 60_000,
}, async () => {
  const output = join(folder, 'run')
  const options = { data: 'synthetic:shapes:count=64,size=8', batchSize: 16, network: { width: 8, blocks: 1 }, device: 'cpu', output, tensorboard: true, logEvery: 160, previewEvery: 320, holdOut: 0.25 } // biome-ignore format: one line
  const { model } = await trainDenoiser({ ...options, images: 640 })
  model.dispose()
  const files = async () => (await readdir(output)).filter((name) => name.includes('tfevents'))
  const log = (await readFile(join(output, 'log.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line)).filter(({ loss }) => loss !== undefined) // biome-ignore format: one line
  const [, ...events] = records(await readFile(join(output, (await files())[0]!)))
  expect(events.map((event) => one(event, 2))).toEqual(log.map(({ step }) => step))
  for (const [i, event] of events.entries()) {
    const told = summary(event)
    const line = log[i]
    expect(told).toMatchObject({ 'loss/step': Math.fround(line.loss), 'loss/median': Math.fround(line.median), 'run/learning rate': Math.fround(line.lr) }) // biome-ignore format: one line
    expect(told['loss/held out']).toBe(line.heldOutLoss === undefined ? undefined : Math.fround(line.heldOutLoss))
    const bins = Object.keys(told).filter((tag) => tag.startsWith('loss by noise/'))
    expect(bins).toHaveLength(line.binLosses.filter((mean: number | null) => mean !== null).length)
    if (!line.preview) expect(told.samples).toBeUndefined()
    else {
      const [height, width, colours, png] = told.samples as [number, number, number, Buffer]
      expect([height, width]).toEqual([png.readUInt32BE(20), png.readUInt32BE(16)])
      expect(colours).toBe(png[25] === 0 ? 1 : 3)
      expect(png.equals(await readFile(join(output, line.preview)))).toBe(true)
    }
  }
  const [first] = await files()
  await rename(join(output, first!), join(folder, first!))
  const longer = await trainDenoiser({ ...options, images: 800, resume: true })
  longer.model.dispose()
  const [, session, next] = records(await readFile(join(output, (await files())[0]!)))
  expect([one(session!, 2), fields(one(session!, 7) as Buffer)]).toEqual([41, [[1, 1]]])
  expect(one(next!, 2)).toBe(45) // where the held-out loss is measured now

  await rename(join(folder, first!), join(output, first!))
  const told = await asTensorBoardReads(output)
  if (!told)
    return console.log('skipped: TensorBoard’s own reader is not there (TENSORBOARD_PYTHON=a Python that has it)')
  const whole = (await readFile(join(output, 'log.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line)).filter(({ loss }) => loss !== undefined) // biome-ignore format: one line
  expect(whole.length).toBeGreaterThan(log.length)
  expect(told.scalars['loss/step']).toEqual(whole.map(({ step, loss }) => [step, Math.fround(loss)]))
  const held = whole.filter(({ heldOutLoss }) => heldOutLoss !== undefined)
  expect(told.scalars['loss/held out']).toEqual(held.map(({ step, heldOutLoss }) => [step, Math.fround(heldOutLoss)]))
  const shown = whole.filter(({ preview }) => preview)
  const pictures = await Promise.all(shown.map(({ preview }) => readFile(join(output, preview))))
  expect(told.images.samples).toEqual(pictures.map((png, i) => [shown[i].step, png.readUInt32BE(16), png.readUInt32BE(20), png.toString('base64')])) // biome-ignore format: one line
})

type Told = { scalars: Record<string, [number, number][]>; images: Record<string, [number, number, number, string][]> }

/** What TensorBoard's event accumulator makes of a folder; undefined where there is no TensorBoard. */
async function asTensorBoardReads(folder: string): Promise<Told | undefined> {
  const read = `
import base64, json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
a = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'images': 0}).Reload()
print(json.dumps({
  'scalars': {t: [[e.step, e.value] for e in a.Scalars(t)] for t in a.Tags()['scalars']},
  'images': {t: [[e.step, e.width, e.height, base64.b64encode(e.encoded_image_string).decode()] for e in a.Images(t)] for t in a.Tags()['images']}}))`
  const python = process.env.TENSORBOARD_PYTHON ?? 'python3'
  const there = await promisify(execFile)(python, ['-c', 'import tensorboard']).then(() => true, () => false) // biome-ignore format: one line
  if (!there) return undefined
  const { stdout } = await promisify(execFile)(python, ['-c', read, folder], { maxBuffer: 2 ** 26 })
  return JSON.parse(stdout)
}
