import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { describeConvolutions } from '../lib/cli/convolutions.js'
import { main } from '../lib/cli/index.js'
import { Denoiser, songUNet } from '../lib/index.js'

it('inspect --verbose says by which algorithm each shape of convolution is done', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'feynkac-inspect-'))
  const out: string[] = []
  vi.spyOn(console, 'log').mockImplementation((text) => void out.push(text))
  const inspect = async (...argv: string[]): Promise<string> => {
    expect(await main(['inspect', ...argv, '--device', 'cpu', '--batch', '2'])).toBe(0)
    return out.at(-1)!
  }
  try {
    const file = join(folder, 'model.safetensors')
    const network = songUNet([3, 16, 16], {
      model_channels: 32,
      channel_mult: [1, 5],
      num_blocks: 1,
      attn_resolutions: [8],
    })
    const model = await Denoiser.create({ network }, { device: 'cpu' })
    await model.save(file)
    model.dispose()
    expect(JSON.parse(await inspect(file, '--json')).convolutions).toBeUndefined()
    const { convolutions } = JSON.parse(await inspect(file, '--verbose', '--json'))
    const found = (kernel: number, channels: number, out: number, side: number) =>
      convolutions.find((c: Record<string, number>) =>
        [c.kernel, c.in, c.out, c.height].every((v, i) => v === [kernel, channels, out, side][i]),
      )
    const all = (name: string) => ({ forward: name, dataGrad: name, weightGrad: name })
    expect(found(3, 3, 32, 16)).toMatchObject({
      forward: 'direct',
      dataGrad: 'narrow',
      weightGrad: 'narrow',
      layers: 1,
    })
    expect(found(3, 32, 3, 16)).toMatchObject({ forward: 'narrow', dataGrad: 'direct', weightGrad: 'narrow' })
    expect(found(3, 32, 32, 16)).toMatchObject({ ...all('winograd'), weightBytes: expect.any(Number) })
    expect(found(3, 160, 160, 8)).toMatchObject(all('winograd'))
    expect(found(1, 160, 480, 8)).toMatchObject(all('pointwise'))
    // weights are transformed at each use: of each direction a line of the caches alone
    for (const { packedBytes, layers } of [found(3, 32, 32, 16), found(3, 160, 160, 8)])
      expect(packedBytes).toBe(128 * layers)

    const lines = await inspect(file, '--verbose')
    for (const line of describeConvolutions(convolutions)) expect(lines).toContain(line)
    expect(lines).toMatch(/convolution \d of 3 x 3, 32 > 32 channels at 16 x 16: winograd; /)
  } finally {
    vi.restoreAllMocks()
    rmSync(folder, { recursive: true })
  }
})
