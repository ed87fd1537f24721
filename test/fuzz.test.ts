import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const at = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))

it('reads damaged files of weights, or refuses them with typed errors', async () => {
  if (!existsSync(at('dist/weights/source.js'))) throw new Error('dist/ is missing: npm run build:ts')
  const child = spawn(process.execPath, [at('scripts/fuzz-parsers.mjs'), '--seconds', '10', '--count', '4000'])
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data))
  const code = await new Promise((resolve) => child.on('close', resolve))
  expect(output).toMatch(/: 0 failed/)
  expect(code).toBe(0)
  // most files are refused, but not all: damage to numbers is none to the file
  expect(output).toMatch(/kinds\.pt .*read \d+/)
})
