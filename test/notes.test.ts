import { afterEach, expect, test, vi } from 'vitest'
import { noted, repeatWarnings, wrapped } from '../lib/cli/notes.js'

afterEach(() => vi.restoreAllMocks())

test('long lines are cut at words, and the rest is indented', () => {
  expect(wrapped('warning: the weights decline', 16)).toBe('warning: the\n  weights\n  decline')
  expect(wrapped('short', 16)).toBe('short')
  expect(wrapped('a word/of/more/than/the/width here', 10)).toBe('a\n  word/of/more/than/the/width\n  here')
})

test('warnings are said again once, other notes are not', () => {
  const said: string[] = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0)
  for (const line of ['warning: roots', 'levels were placed', 'warning: roots']) noted(line)
  repeatWarnings()
  repeatWarnings()
  expect(said).toEqual(['warning: roots\n'])
})
