/**
 * The package's errors. Every message says what was wrong, where, and what to do instead.
 * `code` is stable and made for programs; messages are made for people and may change.
 */
export class FeynkacError extends Error {
  /** Stable, for programs: FEYNKAC_ and what the class names. */
  readonly code: string = 'FEYNKAC_ERROR'

  /** message: what was wrong, where, and what to do; options: the cause. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
  }
}

/** An argument or option has the wrong type, length or range. */
export class ArgumentError extends FeynkacError {
  /** Always 'FEYNKAC_ARGUMENT'. */
  override readonly code: string = 'FEYNKAC_ARGUMENT'
}

/** A file is missing, unreadable, unwritable, or the disk is full. */
export class FileError extends FeynkacError {
  /** Always 'FEYNKAC_FILE'. */
  override readonly code: string = 'FEYNKAC_FILE'

  /** As FeynkacError, of the file at `path`. */
  constructor(
    message: string,
    /** The file or folder. */
    readonly path: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** A file was read, but its content is corrupt or not what it must be. */
export class FormatError extends FileError {
  /** Always 'FEYNKAC_FORMAT'. */
  override readonly code: string = 'FEYNKAC_FORMAT'
}

/** A computation gave NaN or infinity, diverged, or left no particle with weight. */
export class NumericsError extends FeynkacError {
  /** Always 'FEYNKAC_NUMERICS'. */
  override readonly code: string = 'FEYNKAC_NUMERICS'
}

/** A device is not there or cannot be used. */
export class DeviceError extends FeynkacError {
  /** Always 'FEYNKAC_DEVICE'. */
  override readonly code: string = 'FEYNKAC_DEVICE'
}

/** A package is needed that is not installed with feynkac; `packages` are the names to install. */
export class MissingPackageError extends FeynkacError {
  /** Always 'FEYNKAC_MISSING_PACKAGE'. */
  override readonly code: string = 'FEYNKAC_MISSING_PACKAGE'

  /** As FeynkacError, with the packages to install. */
  constructor(
    message: string,
    /** Names to give to `npm install`. */
    readonly packages: readonly string[],
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** Host or device memory ran out; the process goes on and a smaller batch may work. */
export class OutOfMemoryError extends FeynkacError {
  /** Always 'FEYNKAC_OUT_OF_MEMORY'. */
  override readonly code: string = 'FEYNKAC_OUT_OF_MEMORY'
}

/** An engine has more to do than it takes; the same request may be taken later. */
export class BusyError extends FeynkacError {
  /** Always 'FEYNKAC_BUSY'. */
  override readonly code: string = 'FEYNKAC_BUSY'
}

/** A request was not done within the time that it was given. */
export class DeadlineError extends FeynkacError {
  /** Always 'FEYNKAC_DEADLINE'. */
  override readonly code: string = 'FEYNKAC_DEADLINE'
}

const MAX_MESSAGE = 1000

/** A function that throws a FormatError about a file. Names in a corrupt file may be of any length: the message is cut. */
export function formatFailure(path: string): (what: string, cause?: unknown) => never {
  return (what, cause) => {
    const text = what.length > MAX_MESSAGE ? `${what.slice(0, MAX_MESSAGE)} ...` : what
    throw new FormatError(`${path}: ${text}`, path, cause === undefined ? undefined : { cause })
  }
}

/** A number for people: three digits are enough. */
export const digits = (value: number): string => String(Number(value.toPrecision(3)))

const MAX_VALUE = 200

/** What a value looks like in a message: short, with its type. */
export function describe(value: unknown): string {
  try {
    return look(value)
  } catch {
    return 'an object' // a proxy, or one whose properties throw
  }
}

function look(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (ArrayBuffer.isView(value) && 'length' in value) return `${value.constructor.name} of length ${value.length}`
  if (Array.isArray(value))
    return value.length <= 8 && value.every(isSimple)
      ? shortened(JSON.stringify(value))
      : `array of length ${value.length}`
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object') {
    const name = value.constructor?.name
    return `an object (${typeof name === 'string' ? shortened(name) : 'of no class'})`
  }
  return typeof value === 'string'
    ? shortened(JSON.stringify(value.slice(0, MAX_VALUE + 1)))
    : `${String(value)} (${typeof value})`
}

const shortened = (text: string) => (text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)} ...` : text)

/** Not what may be nested without end, nor what JSON lacks. */
function isSimple(value: unknown): boolean {
  return value === null || ['number', 'string', 'boolean'].includes(typeof value)
}

/** The one wording of argument errors: "expected X for NAME but received Y". */
export function invalid(name: string, expected: string, actual: unknown): ArgumentError {
  return new ArgumentError(`expected ${expected} for ${name} but received ${describe(actual)}`)
}
