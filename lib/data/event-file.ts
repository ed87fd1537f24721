import { appendFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { fileError } from '../base/files.js'

/**
 * TensorBoard's event files: records, each with its length and masked CRC-32C before and after, of protocol buffers (tensorflow/core/util/event.proto,
 * framework/summary.proto). Few fields are needed, and they are written here by hand.
 */

/** What is told at a step. */
export interface Told {
  scalars: Readonly<Record<string, number | null | undefined>>
  /** PNG. */
  images?: Readonly<Record<string, Buffer>>
}

export class EventFile {
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  /** Begins a file in the folder. step: of a run that goes on, whose later steps in older files are to be forgotten. Throws FileError. */
  static async open(folder: string, step = 0, now = Date.now()): Promise<EventFile> {
    const seconds = String(Math.floor(now / 1000)).padStart(10, '0')
    const file = new EventFile(join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}`))
    await file.#append(event(now, 0, text(3, 'brain.Event:2')))
    // session_log: START, which has TensorBoard forget its own step and those after
    if (step > 0) await file.#append(event(now, step + 1, message(7, varint(1, 1))))
    return file
  }

  /** Numbers that are not finite are left out. Throws FileError. */
  async add(step: number, { scalars, images = {} }: Told, now = Date.now()): Promise<void> {
    const values = [
      ...Object.entries(scalars).flatMap(([tag, value]) =>
        Number.isFinite(value) ? [message(1, [text(1, tag), float(2, value as number)])] : [],
      ),
      ...Object.entries(images).map(([tag, png]) => message(1, [text(1, tag), message(4, imageOf(png))])),
    ]
    if (values.length > 0) await this.#append(event(now, step, message(5, values)))
  }

  async #append(record: Buffer): Promise<void> {
    try {
      await appendFile(this.path, framed(record))
    } catch (error) {
      throw fileError(error, this.path, 'write')
    }
  }
}

function event(now: number, step: number, what: Buffer): Buffer {
  const time = Buffer.alloc(9)
  time[0] = (1 << 3) | 1
  time.writeDoubleLE(now / 1000, 1)
  return Buffer.concat([time, varint(2, step), what])
}

/** height, width, colorspace (1 grey, 3 RGB, 4 RGBA), encoded_image_string. */
function imageOf(png: Buffer): Buffer[] {
  const colours = { 0: 1, 4: 2, 6: 4 }[png[25]!] ?? 3
  return [varint(1, png.readUInt32BE(20)), varint(2, png.readUInt32BE(16)), varint(3, colours), message(4, png)]
}

/** Whole numbers of at most 53 bits. */
function digits(value: number): number[] {
  const bytes: number[] = []
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128)
  return [...bytes, value]
}
const varint = (field: number, value: number) => Buffer.from([field << 3, ...digits(value)])
const message = (field: number, parts: Buffer | readonly Buffer[]): Buffer => {
  const content = Buffer.isBuffer(parts) ? parts : Buffer.concat(parts)
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...digits(content.length)]), content])
}
const text = (field: number, value: string) => message(field, Buffer.from(value))
function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(5)
  bytes[0] = (field << 3) | 5
  bytes.writeFloatLE(value, 1)
  return bytes
}

/** length (uint64), its masked CRC, the record, its masked CRC. */
function framed(record: Buffer): Buffer {
  const head = Buffer.alloc(12)
  head.writeBigUInt64LE(BigInt(record.length))
  head.writeUInt32LE(masked(head.subarray(0, 8)), 8)
  const tail = Buffer.alloc(4)
  tail.writeUInt32LE(masked(record))
  return Buffer.concat([head, record, tail])
}

const table = Uint32Array.from({ length: 256 }, (_, i) => {
  for (let bit = 0; bit < 8; bit++) i = i & 1 ? (i >>> 1) ^ 0x82f63b78 : i >>> 1
  return i
})

/** CRC-32C (Castagnoli), rotated and shifted, so that the CRC of data which hold CRCs is no less good. */
function masked(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = table[(crc ^ byte) & 255]! ^ (crc >>> 8)
  crc = ~crc
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}
