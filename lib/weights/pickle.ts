/**
 * A machine for Python's pickles, protocols 0 to 5 (https://docs.python.org/3/library/pickletools.html), that runs no code: a
 * pickle may name only the classes and functions that the host has given a meaning, and calling one calls that meaning.
 *
 * None, bool, int, float and str become null, boolean, number (bigint beyond 2^53), number and string; bytes and bytearray a
 * Uint8Array that shares the pickle's memory; list and tuple an array; dict a Map; set and frozenset a Set. Objects that a pickle
 * refers to twice are shared, and may contain themselves: walk them with a bound.
 */

import { type PickleBudget, PickleBytes } from './pickle-bytes.js'

export interface PickleHost {
  budget: PickleBudget
  /** The meaning of a global by its full name ('collections.OrderedDict'); undefined refuses the file. */
  find(name: string): PickleGlobal | undefined
  /** The object of a persistent id; without it, a pickle with such an id is refused. */
  persistent?(id: unknown): unknown
  /** The object in a file within the file (torch.storage._load_from_bytes). */
  nested?(bytes: Uint8Array): unknown
  /** Throws a FormatError that says where. */
  fail(what: string): never
}

/** A class or function by its full name, with what calling it means here. */
export class PickleGlobal {
  constructor(
    readonly name: string,
    readonly call: (args: unknown[], host: PickleHost) => unknown,
  ) {}
}

/** An object of a class without a meaning here: what it was made of, never the object itself. */
export class Opaque {
  /** What BUILD gave it, as a rule a Map of attributes. */
  state: unknown
  constructor(
    readonly type: string,
    readonly args: unknown[],
  ) {}
}

/** Python 2's names of what Python 3 calls otherwise. */
const RENAMED = new Map([
  ['__builtin__', 'builtins'],
  ['copy_reg', 'copyreg'],
])
const STOP = 0x2e

/** Runs the pickle that starts at a place. The value, and where the pickle ends. Throws what host.fail throws. */
export function unpickle(bytes: Uint8Array, start: number, host: PickleHost): { value: unknown; end: number } {
  const machine: Machine = new Machine(new PickleBytes(bytes, start, host.budget, host.fail), host)
  for (;;) {
    if (!host.budget.operation()) machine.fail('it has more operations than weights need')
    const code = machine.bytes.uint8()
    if (code === STOP) return { value: machine.pop(), end: machine.bytes.at }
    const operation = OPERATIONS[code]
    if (operation === undefined)
      machine.fail(`0x${code.toString(16).padStart(2, '0')} is no operation: the file is corrupt or no pickle`)
    operation(machine, machine.bytes)
  }
}

class Machine {
  readonly stack: unknown[] = []
  readonly marks: number[] = []
  readonly memo = new Map<number, unknown>()

  constructor(
    readonly bytes: PickleBytes,
    readonly host: PickleHost,
  ) {}

  fail(what: string): never {
    return this.host.fail(`the pickle, before byte ${this.bytes.at}: ${what}`)
  }

  // the stack

  push(value: unknown): void {
    this.stack.push(value)
  }

  /** Pushes what takes memory of its own. */
  make(value: unknown): void {
    if (!this.host.budget.object()) this.fail('it has more objects than weights need')
    this.stack.push(value)
  }

  top(): unknown {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) this.fail('it takes more from its stack than lies on it')
    return this.stack.at(-1)
  }

  pop(): unknown {
    this.top()
    return this.stack.pop()
  }

  popCount(count: number): unknown[] {
    const from = this.stack.length - count
    if (from < (this.marks.at(-1) ?? 0)) this.fail('it takes more from its stack than lies on it')
    return this.stack.splice(from)
  }

  popMark(): unknown[] {
    const mark = this.marks.pop()
    if (mark === undefined) this.fail('it goes back to a mark that it has not set')
    return this.stack.splice(mark)
  }

  memoize(key: number | bigint): void {
    if (!this.host.budget.object()) this.fail('it has more objects than weights need')
    this.memo.set(Number(key), this.top())
  }

  recall(key: number | bigint): void {
    const value = this.memo.get(Number(key))
    if (value === undefined) this.fail(`it recalls object ${key}, which it has not stored`)
    this.push(value)
  }

  // containers and objects

  makeDict(items: unknown[]): void {
    this.make(new Map())
    this.setItems(items)
  }

  append(items: unknown[]): void {
    const list = this.top()
    if (list instanceof Set) {
      for (const item of items) list.add(item)
      return
    }
    if (!Array.isArray(list)) this.fail('it appends to what is no list')
    for (const item of items) list.push(item)
  }

  addItems(items: unknown[]): void {
    if (!(this.top() instanceof Set)) this.fail('it adds to what is no set')
    this.append(items)
  }

  setItems(items: unknown[]): void {
    const dict = this.top()
    if (!(dict instanceof Map)) this.fail('it sets an item of what is no dict')
    if (items.length % 2 === 1) this.fail('a key of a dict has no value')
    if (!this.host.budget.object(items.length / 2)) this.fail('it has more objects than weights need')
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1])
  }

  global(module: unknown, name: unknown): PickleGlobal {
    if (typeof module !== 'string' || typeof name !== 'string') this.fail('the name of a global is no text')
    const full = `${RENAMED.get(module) ?? module}.${name}`
    const plain = /^[\w.<>]{1,200}$/.test(full) ? full : JSON.stringify(full.slice(0, 200))
    const found = this.host.find(full)
    if (!found)
      return this.host.fail(
        `the file asks for ${plain}, which is not needed for weights: refused. If you trust the file, save its state dict alone`,
      )
    if (!this.host.budget.object()) this.fail('it has more objects than weights need')
    return found
  }

  call(callable: unknown, args: unknown): void {
    if (!(callable instanceof PickleGlobal)) this.fail('it calls what is no class or function: refused')
    if (!Array.isArray(args)) this.fail(`the arguments of ${callable.name} are no tuple`)
    this.make(callable.call(args, this.host))
  }

  callNamed(callable: unknown, args: unknown, named: unknown): void {
    if (!(named instanceof Map) || named.size > 0)
      this.fail('it makes an object with named arguments, which weights do not need: refused')
    this.call(callable, args)
  }

  callFirst([callable, ...args]: unknown[]): void {
    this.call(callable, args)
  }

  protocol(protocol: number): void {
    if (protocol > 5) this.fail(`its protocol ${protocol} is not known (0 to 5 are): the file is corrupt or newer`)
  }

  /** The state of an object. Containers and tensors keep nothing of theirs (OrderedDict's _metadata, hooks). */
  build(state: unknown): void {
    const object = this.top()
    if (object instanceof Opaque) object.state = state
    else if (typeof object !== 'object' || object === null || object instanceof PickleGlobal)
      this.fail('it gives a state to what is no object')
  }

  persistent(id: unknown): void {
    if (!this.host.persistent) this.fail('it refers to objects outside of the pickle: refused')
    this.make(this.host.persistent(id))
  }
}

type Operation = (machine: Machine, bytes: PickleBytes) => void

const refuse =
  (what: string): Operation =>
  (m) =>
    m.fail(`${what}: refused`)
const extension = refuse("it uses Python's registry of extensions, which is not needed for weights")

/** What each byte of a pickle does. */
const OPERATIONS: Readonly<Record<number, Operation | undefined>> = {
  // the stack and the memo
  40: (m) => m.marks.push(m.stack.length), // MARK
  48: (m) => (m.stack.length === m.marks.at(-1) ? m.marks.pop() : m.pop()), // POP
  49: (m) => m.popMark(), // POP_MARK
  50: (m) => m.push(m.top()), // DUP
  103: (m, b) => m.recall(b.decimal(b.line())), // GET
  104: (m, b) => m.recall(b.uint8()), // BINGET
  106: (m, b) => m.recall(b.uint32()), // LONG_BINGET
  112: (m, b) => m.memoize(b.decimal(b.line())), // PUT
  113: (m, b) => m.memoize(b.uint8()), // BINPUT
  114: (m, b) => m.memoize(b.uint32()), // LONG_BINPUT
  148: (m) => m.memoize(m.memo.size), // MEMOIZE

  // simple values
  78: (m) => m.push(null), // NONE
  136: (m) => m.push(true), // NEWTRUE
  137: (m) => m.push(false), // NEWFALSE
  73: (m, b) => m.push(b.textInt(b.line())), // INT, which also writes booleans
  74: (m, b) => m.push(b.int32()), // BININT
  75: (m, b) => m.push(b.uint8()), // BININT1
  77: (m, b) => m.push(b.uint16()), // BININT2
  76: (m, b) => m.push(b.decimal(b.line().replace(/L$/, ''))), // LONG
  138: (m, b) => m.push(b.long(b.uint8())), // LONG1
  139: (m, b) => m.push(b.long(b.uint32())), // LONG4
  70: (m, b) => m.push(b.textFloat(b.line())), // FLOAT
  71: (m, b) => m.push(b.float64()), // BINFLOAT
  83: (m, b) => m.push(b.quoted(b.line())), // STRING
  84: (m, b) => m.push(b.latin1(b.uint32())), // BINSTRING
  85: (m, b) => m.push(b.latin1(b.uint8())), // SHORT_BINSTRING
  86: (m, b) => m.push(b.rawUnicode(b.line())), // UNICODE
  88: (m, b) => m.push(b.text(b.uint32())), // BINUNICODE
  140: (m, b) => m.push(b.text(b.uint8())), // SHORT_BINUNICODE
  141: (m, b) => m.push(b.text(b.uint64())), // BINUNICODE8
  66: (m, b) => m.push(b.binary(b.uint32())), // BINBYTES
  67: (m, b) => m.push(b.binary(b.uint8())), // SHORT_BINBYTES
  142: (m, b) => m.push(b.binary(b.uint64())), // BINBYTES8
  150: (m, b) => m.push(b.binary(b.uint64())), // BYTEARRAY8

  // containers
  41: (m) => m.make([]), // EMPTY_TUPLE
  93: (m) => m.make([]), // EMPTY_LIST
  133: (m) => m.make(m.popCount(1)), // TUPLE1
  134: (m) => m.make(m.popCount(2)), // TUPLE2
  135: (m) => m.make(m.popCount(3)), // TUPLE3
  116: (m) => m.make(m.popMark()), // TUPLE
  108: (m) => m.make(m.popMark()), // LIST
  125: (m) => m.make(new Map()), // EMPTY_DICT
  100: (m) => m.makeDict(m.popMark()), // DICT
  143: (m) => m.make(new Set()), // EMPTY_SET
  145: (m) => m.make(new Set(m.popMark())), // FROZENSET
  97: (m) => m.append(m.popCount(1)), // APPEND
  101: (m) => m.append(m.popMark()), // APPENDS
  115: (m) => m.setItems(m.popCount(2)), // SETITEM
  117: (m) => m.setItems(m.popMark()), // SETITEMS
  144: (m) => m.addItems(m.popMark()), // ADDITEMS

  // classes, functions, instances
  99: (m, b) => m.push(m.global(b.line(), b.line())), // GLOBAL
  147: (m) => m.push(m.global(...(m.popCount(2) as [unknown, unknown]))), // STACK_GLOBAL
  82: (m) => m.call(...(m.popCount(2) as [unknown, unknown])), // REDUCE
  129: (m) => m.call(...(m.popCount(2) as [unknown, unknown])), // NEWOBJ
  146: (m) => m.callNamed(...(m.popCount(3) as [unknown, unknown, unknown])), // NEWOBJ_EX
  105: (m, b) => m.call(m.global(b.line(), b.line()), m.popMark()), // INST
  111: (m) => m.callFirst(m.popMark()), // OBJ
  98: (m) => m.build(m.pop()), // BUILD
  80: (m, b) => m.persistent(b.line()), // PERSID
  81: (m) => m.persistent(m.pop()), // BINPERSID
  130: extension, // EXT1
  131: extension, // EXT2
  132: extension, // EXT4

  // the frame of the pickle
  128: (m, b) => m.protocol(b.uint8()), // PROTO
  149: (_, b) => b.room(b.uint64()), // FRAME
  151: refuse('it needs buffers from outside of the file'), // NEXT_BUFFER
  152: () => {}, // READONLY_BUFFER
}
