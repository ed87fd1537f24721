import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { FormatError } from '../lib/base/errors.js'
import { verifyFixture } from '../lib/verify/fixture.js'
import { shared } from './shared.js'

// The files hold numbers of the reference implementations.
describe.each(['ddpmpp-uncond', 'ddpmpp-cond', 'gray28', 'ncsnpp', 'adm', 'adm-heads'])('%s', (name) => {
  const fixture = shared(`fixtures/unet/${name}.safetensors`)

  it.skipIf(fixture.missing)(
    'is recomputed within its bounds: outputs, energies, gradients, loss and its gradients',
    async () => {
      const { rows, ok } = await verifyFixture(fixture.path)
      expect(rows.filter((r) => !r.ok)).toEqual([])
      expect(ok).toBe(true)
      for (const kind of ['F', 'D', 'dot.gradF', 'dot.gradE', 'dot.jvpE', 'l2.E', 'l2.gradE', 'L'])
        expect(rows.map((r) => r.name)).toContain(kind)
      expect(rows.filter((r) => r.name.startsWith('grad.')).length).toBeGreaterThan(80)
    },
  )
})

// test/vectors/residual.py: the energy |x - D_h|^2 / (2 sigma^2) as it stands, by autograd in float64
it('the residual head is recomputed within its bounds: energy, gradients, loss and its gradients', async () => {
  const { rows } = await verifyFixture(fileURLToPath(new URL('vectors/residual.safetensors', import.meta.url)))
  expect(rows.filter((r) => !r.ok)).toEqual([])
  const names = rows.map((r) => r.name)
  expect(names).toEqual(
    expect.arrayContaining(['E', 'gradE', 'D', 'gradF', 'F_s', 'jvpE', 'L'].map((name) => `residual.${name}`)),
  )
  expect(names.filter((name) => name.startsWith('residual.grad.')).length).toBeGreaterThan(80)
})

describe('diffusers-unet2d', () => {
  const fixture = shared('fixtures/unet/diffusers-unet2d.safetensors')

  it.skipIf(fixture.missing)('is recomputed within its bounds: outputs, energies and their gradients', async () => {
    const { rows, ok } = await verifyFixture(fixture.path)
    expect(rows.filter((r) => !r.ok)).toEqual([])
    expect(ok).toBe(true)
    expect(rows.map((r) => r.name)).toEqual(
      expect.arrayContaining(['F', 'D', 'dot.gradF', 'dot.D', 'dot.gradE', 'dot.F_s', 'dot.E', 'dot.jvpE']),
    )
  })
})

describe('verify', () => {
  const fixture = shared('fixtures/unet/gray28.safetensors')

  it.skipIf(fixture.missing)('notices one changed weight', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'feynkac-'))
    try {
      const path = join(folder, 'changed.safetensors')
      await copyFile(fixture.path, path)
      const bytes = await readFile(path)
      const headerLength = Number(bytes.readBigUInt64LE(0))
      const header = JSON.parse(bytes.subarray(8, 8 + headerLength).toString())
      const at = 8 + headerLength + header['model.dec.14x14_in0.conv0.weight'].data_offsets[0]
      bytes.writeFloatLE(bytes.readFloatLE(at) + 1, at)
      await writeFile(path, bytes)
      expect((await verifyFixture(path)).ok).toBe(false)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it.skipIf(fixture.missing)('says which networks it does not compute', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'feynkac-'))
    try {
      const path = join(folder, 'other.safetensors')
      const bytes = await readFile(fixture.path)
      bytes.write('SongNett', bytes.indexOf('SongUNet'))
      await writeFile(path, bytes)
      await expect(verifyFixture(path)).rejects.toThrow(FormatError)
      await expect(verifyFixture(path)).rejects.toThrow('SongNett')
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})
