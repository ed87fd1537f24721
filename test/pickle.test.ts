import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { FormatError } from '../lib/base/errors.js'
import { Opaque, PickleGlobal, type PickleHost, unpickle } from '../lib/weights/pickle.js'
import { PickleBudget } from '../lib/weights/pickle-bytes.js'
import { findGlobal } from '../lib/weights/pickle-globals.js'
import { plain } from '../lib/weights/plain.js'
import { p } from './crafted.js'
import { vector } from './expected-tensors.js'

function host(options: Partial<PickleHost> = {}): PickleHost {
  const fail = (what: string): never => {
    throw new FormatError(what, 'a file')
  }
  return { budget: new PickleBudget(), find: findGlobal, fail, ...options }
}

const load = (bytes: Uint8Array, options?: Partial<PickleHost>) => unpickle(bytes, 0, host(options)).value
const raw = (...parts: (Uint8Array | string | number)[]) => load(p.raw(...parts, '.'))

function refused(bytes: Uint8Array, pattern: RegExp, what = ''): void {
  try {
    load(bytes)
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError)
    expect((error as Error).message).toMatch(pattern)
    return
  }
  expect.fail(`${JSON.stringify(what)} was read, not refused with ${pattern}`)
}

describe('values', () => {
  it('reads numbers and texts of every protocol', () => {
    expect(raw('I12\n')).toBe(12)
    expect(raw('I01\n')).toBe(true)
    expect(raw('L-123456789012345678901234567890L\n')).toBe(-123456789012345678901234567890n)
    expect(raw('F-1.5e3\n')).toBe(-1500)
    expect(raw('Finf\n')).toBe(Infinity)
    expect(raw('G', Buffer.from('3ff8000000000000', 'hex'))).toBe(1.5)
    expect(raw('J', Buffer.from('feffffff', 'hex'))).toBe(-2)
    expect(raw('M', Buffer.from('0102', 'hex'))).toBe(513)
    expect(raw(0x8a, 0)).toBe(0)
    expect(raw(0x8a, 2, Buffer.from('00ff', 'hex'))).toBe(-256)
    expect(raw(0x8b, Buffer.from('09000000', 'hex'), Buffer.from('000000000000000001', 'hex'))).toBe(2n ** 64n)
    expect(raw("S'a\\n\\x41\\'b'\n")).toBe("a\nA'b")
    expect(raw('Va\\u00e9\\U0001f600\n')).toBe('aé😀')
    expect(raw('U', 2, Buffer.of(0xe9, 65))).toBe('éA')
    expect(raw(0x8c, 3, Buffer.from('\ufeff'))).toBe('\ufeff')
    expect(raw(0x8d, Buffer.from('0200000000000000', 'hex'), 'ab')).toBe('ab')
    expect(Array.from(raw('C', 2, 'ab') as Uint8Array)).toEqual([97, 98])
  })

  it('reads containers, marks and the memo', () => {
    expect(raw('(K', 1, 'K', 2, 'd')).toEqual(new Map([[1, 2]]))
    expect(raw('(K', 1, 'K', 2, 'l')).toEqual([1, 2])
    expect(raw('](K', 1, 'K', 2, 'eK', 3, 'a')).toEqual([1, 2, 3])
    expect(raw(0x8f, '(K', 1, 'K', 1, 0x90)).toEqual(new Set([1]))
    expect(raw('(K', 1, 0x91)).toEqual(new Set([1]))
    expect(raw('K', 1, '((0K', 5, '1')).toBe(1)
    const [a, b] = raw(']', 0x94, 'h', 0, 0x86) as unknown[][]
    expect(a).toBe(b)
    const own = raw(']q', 3, 'h', 3, 'a') as unknown[]
    expect(own[0]).toBe(own)
    expect(raw(0x80, 4, 0x95, Buffer.from('0200000000000000', 'hex'), 'N')).toBe(null)
  })

  it('reads what Python writes in protocol 0', () => {
    const value = load(readFileSync(vector('values-protocol0.pkl'))) as Map<string, unknown[]>
    expect(value.get('a')).toEqual([
      1,
      -1,
      2n ** 70n,
      -(2n ** 70n),
      1.5,
      true,
      null,
      'ü',
      Uint8Array.of(0, 255),
      [1, 2, 3, 4],
      new Set([1]),
      new Set([2]),
    ])
  })

  it('keeps names such as __proto__ as entries and nothing else', () => {
    const value = load(p.pickle(p.dict([p.text('__proto__'), p.dict([p.text('polluted'), p.int(1)])])))
    expect(value).toBeInstanceOf(Map)
    const object = plain(value, expect.fail) as Record<string, unknown>
    expect(Object.getPrototypeOf(object)).toBe(null)
    expect(Object.keys(object)).toEqual(['__proto__'])
    expect(({} as { polluted?: number }).polluted).toBeUndefined()
  })
})

describe('globals', () => {
  it('makes descriptions of what it does not need to know', () => {
    const silu = load(p.pickle(p.call(p.global('torch.nn.modules.activation', 'SiLU')))) as Opaque
    expect(silu).toBeInstanceOf(Opaque)
    expect(silu.type).toBe('torch.nn.modules.activation.SiLU')
    expect(load(p.pickle(p.global('torch.nn.modules.linear', 'Linear')))).toBeInstanceOf(PickleGlobal)
    expect(load(p.pickle(p.call(p.global('collections', 'OrderedDict'), p.list(p.tuple(p.int(1), p.int(2))))))).toEqual(
      new Map([[1, 2]]),
    )
  })

  it('refuses all others by name, however they are asked for', () => {
    const system = /asks for posix\.system, which is not needed for weights: refused/
    refused(p.pickle(p.global('posix', 'system')), system)
    refused(p.pickle(p.call(p.global('posix', 'system'), p.text('true'))), system)
    refused(p.raw("(S'true'\niposix\nsystem\n."), system)
    refused(p.raw('(cposix\nsystem\n', p.text('true'), 'o.'), system)
    refused(p.raw(0x80, 4, p.text('posix'), p.text('system'), 0x93, ')', 0x81, '.'), system)
    refused(p.raw(0x80, 4, p.text('posix'), p.text('system'), 0x93, ')}', 0x92, '.'), system)
    for (const name of ['eval', 'exec', 'getattr', '__import__', 'compile', 'open', 'constructor'])
      refused(p.pickle(p.global('builtins', name)), new RegExp(`builtins\\.${name}`))
    refused(p.pickle(p.global('__builtin__', 'eval')), /builtins\.eval/)
    for (const [module, name] of [
      ['torch', 'load'],
      ['torch.hub', 'load'],
      ['torch.nn.modules.module', 'register_module_forward_hook()'],
      ['torch.nn.functional', 'os.system'],
      ['numpy', 'load'],
      ['subprocess', 'Popen'],
      ['training.networks', 'EDMPrecond'],
      ['', ''],
      ['__proto__', 'toString'],
      ['toString', 'constructor'],
    ])
      refused(p.pickle(p.global(module, name)), /not needed for weights: refused/)
    refused(p.pickle(p.global('a\u001b[31m', 'b'.repeat(5000))), /^the file asks for ".{1,300}$/)
  })

  it('refuses what is called without being a global, and other ways out', () => {
    refused(p.pickle(p.call(p.text('eval'), p.text('1'))), /no class or function/)
    refused(p.pickle(p.call(p.none)), /no class or function/)
    refused(p.raw('(o.'), /no class or function/)
    refused(p.pickle(p.raw(p.global('collections', 'OrderedDict'), 'NR')), /are no tuple/)
    refused(p.raw(p.global('builtins', 'set'), ')', p.dict([p.text('a'), p.int(1)]), 0x92, '.'), /named arguments/)
    refused(p.pickle(p.persistent(p.text('x'))), /outside of the pickle/)
    refused(p.raw('Px\n.'), /outside of the pickle/)
    for (const extension of [0x82, 0x83, 0x84]) refused(p.raw(extension, 1, 0, 0, 0, '.'), /registry of extensions/)
    refused(p.raw(0x97, '.'), /buffers/)
    refused(p.pickle(p.call(p.global('torch', 'FloatStorage'), p.int(10 ** 9))), /calls torch\.FloatStorage/)
    refused(p.pickle(p.call(p.global('_codecs', 'encode'), p.text('x'), p.text('rot13'))), /latin1/)
    refused(
      p.pickle(p.call(p.global('torch.storage', '_load_from_bytes'), p.bytes(Buffer.from('x')))),
      /storage within/,
    )
  })
})

describe('hostile pickles', () => {
  it('checks every length before anything is made', () => {
    for (const [opcode, width] of [
      [0x58, 4],
      [0x8d, 8],
      [0x42, 4],
      [0x8e, 8],
      [0x96, 8],
      [0x54, 4],
      [0x55, 1],
      [0x8c, 1],
      [0x43, 1],
      [0x95, 8],
    ] as const)
      for (const length of [255n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n])
        refused(p.claim(opcode, width, length), /\d+ bytes are claimed but 0 are left|truncated/)
    refused(p.claim(0x8b, 4, 2n ** 31n), /longer than weights need|claimed/)
    refused(p.claim(0x8b, 4, 2n ** 32n - 1n), /longer than weights need/)
    refused(p.raw('L', '9'.repeat(5000), 'L\n.'), /no integer/)
    refused(p.raw('F', '1'.repeat(5000), '\n.'), /no float/)
    refused(p.raw('X', 0xff, 0xff, 0xff, 0x0f, 'ab'), /claimed/)
    refused(p.raw('U', 1), /claimed/)
  })

  it('refuses what goes wrong on the stack', () => {
    for (const bytes of ['.', '0.', '2.', 'a.', ']a.', 's.', 'R.', 'N)R.', 't.', 'e.', 'u.', '}(Nu.', 'h\0.', 'q\0.'])
      refused(p.raw(bytes), /./, bytes)
    refused(p.raw('(.'), /stack/)
    refused(p.raw('N(h', 0, '.'), /recalls object 0/)
    refused(p.raw('N(0a.'), /no list|stack/)
    refused(p.raw('Nb.'), /stack/)
    refused(p.raw('NNb.'), /no object/)
    refused(p.raw('N}b.'), /no object/)
    refused(p.raw(']NNs.'), /no dict/)
    refused(p.raw(0x00), /0x00 is no operation/)
    refused(p.raw(0xff), /0xff is no operation/)
    refused(p.raw(0x80, 6, 'N.'), /protocol 6/)
    refused(p.raw(''), /truncated/)
    refused(p.raw('cposix\nsystem'), /line does not end/)
    refused(p.raw('X', 1, 0, 0, 0, 0xff, '.'), /not UTF-8/)
  })

  it('calls nothing that calls others through itself', () => {
    const twos = '2'.repeat(20000)
    refused(p.raw('ccopyreg\n__newobj__\n(ccopyreg\n__newobj__\n', twos, 'tR.'), /copyreg\.__newobj__/, 'nested')
    const make = 'ctorch._tensor\n_rebuild_from_type_v2\n'
    refused(p.raw(make, '(', make, 'N(', make, 'N]ttR.'), /_rebuild_from_type_v2/, 'through itself')
  })

  it('bounds operations, objects and what is encoded', () => {
    refused(Buffer.alloc(2e6, ']'), /more objects/)
    refused(Buffer.alloc(2e6, ')'), /more objects/)
    refused(Buffer.alloc(5e6, 'N'), /more operations/)
    refused(Buffer.alloc(5e6, '('), /more operations/)
    refused(p.raw('N', Buffer.alloc(2e6, 0x94), '.'), /more objects/)
    refused(p.raw('}q', 0, Buffer.from('h\0'.repeat(5e6)), '.'), /more operations/)
    // one text of a megabyte, encoded again and again
    const encode = p.raw(p.global('_codecs', 'encode'), 'q', 1, '0')
    const text = p.raw(p.text('x'.repeat(2 ** 20)), 'q', 2, '0')
    refused(p.raw(encode, text, Buffer.from('h\x01h\x02\x85R0'.repeat(1000), 'latin1'), 'N.'), /more encoded bytes/)
    // one list of many pairs, made into dicts again and again
    const pairs = p.raw(p.list(...Array(1000).fill(p.tuple(p.int(1), p.int(2)))), 'q', 2, '0')
    const dict = p.raw(p.global('builtins', 'dict'), 'q', 1, '0')
    refused(p.raw(dict, pairs, Buffer.from('h\x01h\x02\x85R0'.repeat(2000), 'latin1'), 'N.'), /more objects/)
  })

  it('reads deep and shared structures without recursion, and walks them with bounds', () => {
    const deep = load(p.raw(Buffer.alloc(5e5, ']'), Buffer.alloc(5e5 - 1, 'a'), '.'))
    expect(Array.isArray(deep)).toBe(true)
    expect(() => plain(deep, host().fail)).toThrow(/nested more than/)
    // a billion laughs: each list holds the one before twice
    const laughs = load(p.raw(']', Buffer.from('q\0]h\0ah\0a'.repeat(30), 'latin1'), '.'))
    expect(() => plain(laughs, host().fail)).toThrow(/more than 100000 values|nested/)
    const wide = load(p.raw(']', Buffer.from(`q\0](${'h\0'.repeat(100)}e`.repeat(5), 'latin1'), '.'))
    expect(() => plain(wide, host().fail)).toThrow(/more than 100000 values/)
    const own = load(p.raw('}q', 0, p.text('self'), 'h', 0, 's.'))
    expect(() => plain(own, host().fail)).toThrow(/nested/)
  })
})
