import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { type Tensor, toFloat32 } from '../lib/weights/safetensors.js'

/** What test/vectors/make_checkpoints.py says of the files that it made. */

interface Expected {
  dtype: string
  shape: number[]
  numbers: number[]
}

const DTYPES: Record<string, string> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
}

export const vector = (name: string) => fileURLToPath(new URL(`vectors/${name}`, import.meta.url))

const expected: Record<string, Record<string, Expected>> = JSON.parse(readFileSync(vector('expected.json'), 'utf8'))

/** Checks names in their order, types, shapes and all numbers. */
export function expectTensors(tensors: ReadonlyMap<string, Tensor>, file: string): void {
  expect([...tensors.keys()]).toEqual(Object.keys(expected[file]))
  for (const [name, { dtype, shape, numbers }] of Object.entries(expected[file])) {
    const tensor = tensors.get(name)!
    expect(tensor.shape, name).toEqual(shape)
    expect(tensor.dtype, name).toBe(DTYPES[dtype])
    expect(numbersOf(tensor), name).toEqual(numbers)
  }
}

function numbersOf(tensor: Tensor): number[] {
  return tensor.dtype === 'F16' || tensor.dtype === 'BF16' ? [...toFloat32(tensor)] : Array.from(tensor.data, Number)
}
