/** What a pickle may cost over all its parts; each is counted down. The defaults are far above what weights need. */
export class PickleBudget {
  /** Operations. */
  #operations: number
  /** Containers, instances, memo entries and values of text, which take memory of their own. */
  #objects: number
  /** Bytes of converted copies. */
  #bytes: number

  constructor(operations = 4e6, objects = 1e6, bytes = 2 ** 26) {
    this.#operations = operations
    this.#objects = objects
    this.#bytes = bytes
  }

  /** Whether that much was left. */
  operation(): boolean {
    return --this.#operations >= 0
  }
  object(count = 1): boolean {
    this.#objects -= count
    return this.#objects >= 0
  }
  copy(bytes: number): boolean {
    this.#bytes -= bytes
    return this.#bytes >= 0
  }
}

const MAX_TEXT = 2 ** 28
/** Bytes of an int, digits of one as text. */
const MAX_INT = 1024
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The values in the bytes of a pickle, each checked against what is left before anything is made of it. */
export class PickleBytes {
  readonly #view: DataView
  readonly #bytes: Uint8Array
  readonly #budget: PickleBudget
  readonly #refuse: (what: string) => never

  constructor(
    bytes: Uint8Array,
    public at: number,
    budget: PickleBudget,
    refuse: (what: string) => never,
  ) {
    this.#bytes = bytes
    this.#budget = budget
    this.#refuse = refuse
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  #fail(what: string): never {
    return this.#refuse(`the pickle, before byte ${this.at}: ${what}`)
  }

  int32(): number {
    return this.#view.getInt32(this.take(4), true)
  }

  uint16(): number {
    return this.#view.getUint16(this.take(2), true)
  }

  float64(): number {
    return this.#view.getFloat64(this.take(8), false)
  }

  /** That many bytes must be left. */
  room(length: number): void {
    const left = this.#bytes.length - this.at
    if (length > left) this.#fail(`${length} bytes are claimed but ${left} are left: the file is truncated or corrupt`)
  }

  /** Goes past some bytes; where they began. */
  take(length: number): number {
    this.room(length)
    this.at += length
    return this.at - length
  }

  uint8(): number {
    return this.#bytes[this.take(1)]
  }

  uint32(): number {
    return this.#view.getUint32(this.take(4), true)
  }

  uint64(): number {
    return Number(this.#view.getBigUint64(this.take(8), true))
  }

  binary(length: number): Uint8Array {
    const at = this.take(length)
    if (!this.#budget.object()) this.#fail('it has more objects than weights need')
    return this.#bytes.subarray(at, at + length)
  }

  text(length: number): string {
    this.room(length)
    if (length > MAX_TEXT) this.#fail(`a text of ${length} bytes is longer than weights need`)
    const at = this.take(length)
    if (!this.#budget.object()) this.#fail('it has more texts than weights need')
    try {
      return utf8.decode(this.#bytes.subarray(at, at + length))
    } catch {
      return this.#fail('a text is not UTF-8')
    }
  }

  /** The str of Python 2. */
  latin1(length: number): string {
    this.room(length)
    if (length > MAX_TEXT) this.#fail(`a text of ${length} bytes is longer than weights need`)
    const at = this.take(length)
    if (!this.#budget.object()) this.#fail('it has more texts than weights need')
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + at, length).toString('latin1')
  }

  /** The text up to the end of the line. */
  line(): string {
    const end = this.#bytes.indexOf(10, this.at)
    if (end < 0) return this.#fail('a line does not end: the file is truncated or corrupt')
    const text = this.latin1(end - this.at)
    this.at = end + 1
    return text
  }

  decimal(text: string): number | bigint {
    if (text.length > MAX_INT || !/^[+-]?\d+$/.test(text))
      return this.#fail(`${JSON.stringify(text.slice(0, 40))} is no integer`)
    const value = Number(text)
    return Number.isSafeInteger(value) ? value : BigInt(text)
  }

  textInt(text: string): boolean | number | bigint {
    return text === '00' ? false : text === '01' ? true : this.decimal(text)
  }

  textFloat(text: string): number {
    const special = { inf: Infinity, '-inf': -Infinity, nan: NaN }
    if (Object.hasOwn(special, text)) return special[text as 'inf']
    return text.length < 100 && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)
      ? Number(text)
      : this.#fail(`${JSON.stringify(text.slice(0, 40))} is no float`)
  }

  /** A text as repr() of Python 2 writes it. */
  quoted(text: string): string {
    const quote = text[0]
    if (text.length < 2 || (quote !== "'" && quote !== '"') || !text.endsWith(quote)) this.#fail('a text has no quotes')
    const simple: Record<string, string> = { n: '\n', r: '\r', t: '\t', '\\': '\\', "'": "'", '"': '"' }
    return text
      .slice(1, -1)
      .replace(/\\(x[0-9a-fA-F]{2}|.?)/g, (_, code: string) =>
        code.length === 3
          ? String.fromCharCode(Number.parseInt(code.slice(1), 16))
          : (simple[code] ?? this.#fail('a text has an unknown escape')),
      )
  }

  /** A text in Python's raw-unicode-escape. */
  rawUnicode(text: string): string {
    return text.replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (_, short?: string, long?: string) => {
      const point = Number.parseInt(short ?? long!, 16)
      return point <= 0x10ffff ? String.fromCodePoint(point) : this.#fail('a text has an unknown character')
    })
  }

  /** An integer in two's complement, little endian. */
  long(length: number): number | bigint {
    if (length > MAX_INT) return this.#fail(`an integer of ${length} bytes is longer than weights need`)
    const at = this.take(length)
    let value = 0n
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[at + i])
    if (length > 0 && this.#bytes[at + length - 1] & 0x80) value -= 1n << BigInt(8 * length)
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value
  }
}
