import { expect, test } from 'vitest'
import { declarations } from './declarations.js'

const all = declarations()

test('every export has a docstring, and every member of an exported class', () => {
  expect(all.length).toBeGreaterThan(1000)
  const wanted = all.filter(({ name, kind }) => kind === 'class' || !name.includes('.'))
  expect(wanted.filter(({ documented }) => documented === '').map(({ name }) => name)).toEqual([])
})

test('what is called says which errors it throws, but constructors of errors and of what a run makes', () => {
  const said = /@internal|throws|rejects|errors as|ArgumentError/i
  const wanted = all.filter(({ kind, takes }) => takes && kind !== 'interface' && kind !== 'type')
  const silent = wanted.filter(({ name, documented }) => !name.endsWith('.constructor') && !said.test(documented))
  expect(silent.map(({ name }) => name)).toEqual([])
})
