/// <reference lib="dom" />
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { watch } from 'feynkac-watch'
import { type Browser, chromium, type Page } from 'playwright-core'
import { expect, it, vi } from 'vitest'
import { main } from '../lib/cli/index.js'
import { trainEnergy } from '../lib/index.js'

/** The page of runs in a headless Chromium (apt-get install chromium, or CHROMIUM=path): real runs are watched to their ends. */

const known = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const executablePath = known.find((file) => file && existsSync(file))
/** A folder: what is seen is kept there. */
const pictures = process.env.FEYNKAC_WATCH_PICTURES
if (!executablePath) console.log('skipped: there is no Chromium to look at the page with')

it.skipIf(!executablePath)(
  'shows a training run and a run of SMC from beginning to end',
  { timeout: 240_000 },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'feynkac-page-'))
    const server = await watch({ folders: [folder] })
    let browser: Browser | undefined
    vi.spyOn(console, 'log').mockImplementation(() => {})
    vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    try {
      browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] }) // as root, which has none
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' })
      const page = await context.newPage()
      page.setDefaultTimeout(100_000)
      const complaints: string[] = []
      page.on('pageerror', ({ message }) => complaints.push(message))
      page.on('console', (message) => {
        if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
      })
      page.on('request', (request) => {
        if (new URL(request.url()).origin !== new URL(server.url).origin) complaints.push(`asks ${request.url()}`)
      })
      const tile = (name: string) =>
        page.locator('.tiles div', { has: page.locator(`dt:text-is("${name}")`) }).locator('dd')
      const keep = (name: string) => pictures && page.screenshot({ path: join(pictures, `${name}.png`) })
      await page.goto(server.url)
      await page.locator('text=No runs yet').waitFor()

      // training: it is seen on its way, where it waits for the page, and at its end
      const network = { width: 8, blocks: 1 }
      const training = { data: 'synthetic:shapes:count=64,size=8', network, batchSize: 16, head: 'dot', images: 1600, logEvery: 80, previewEvery: 160, output: join(folder, 'energy') } as const // biome-ignore format: one line
      for await (const { images } of trainEnergy.stream(training)) {
        if (images !== 800) continue
        await page.locator('nav li.running').waitFor()
        await page.locator('figure:has-text("Samples of the averaged weights") img').waitFor()
      }
      await page.locator('nav li.done').waitFor()
      await page.waitForFunction(() => document.querySelector('.tiles dd')?.textContent === '1600 of 1600')
      expect(await tile('loss').innerText()).toMatch(/^\d/)
      expect(await tile('held out').innerText()).toMatch(/^–$|^\d/)
      expect(await drawnPlots(page)).toEqual(['Loss', 'Loss by noise level', 'Gradient norm', 'Speed', 'Learning rate'])
      const slider = page.locator('.scrub input')
      expect(await slider.getAttribute('max')).toBe('9')
      await slider.focus()
      await page.keyboard.press('Home')
      await page.locator('figcaption:has-text("after 160 images")').waitFor()
      const img = page.locator('.previews img')
      await expect.poll(() => img.evaluate((picture: HTMLImageElement) => picture.naturalWidth)).toBeGreaterThan(30)
      await keep('training')

      // sampling: level by level
      const sampling = main(['sample', join(folder, 'energy', 'model.safetensors'), '--weights', 'bridge', '--particles', '24', '--steps', '24', '--threads', '1', '--allow-collapse', '--output', join(folder, 'samples')]) // biome-ignore format: one line
      await page.locator('h2.title:text-is("samples")').waitFor() // followed
      await page.locator('figure:has-text("Particles") img').waitFor()
      expect(await sampling).toBe(0)
      await page.waitForFunction(() => document.querySelector('.tiles dd')?.textContent === '24 of 24')
      expect(await tile('log Z').innerText()).toMatch(/\d/)
      expect(await drawnPlots(page)).toEqual(['Effective sample size', 'Roots', 'Energy', 'log Z', 'Noise level'])
      expect(await inked(page, '.genealogy canvas')).toBeGreaterThan(500)
      await page.locator('img[alt="samples"]').waitFor()
      await keep('sampling')

      expect(await page.evaluate(() => location.hash)).toBe('')
      expect(await page.locator('header button:text-is("following")').getAttribute('aria-pressed')).toBe('true')

      // by keys: both beside each other; and how it looks elsewhere
      await page.locator('button.run:has-text("energy")').focus()
      await page.keyboard.press('x')
      await page.locator('th:text-is("particles")').waitFor()
      expect(await page.locator('h2.title').innerText()).toBe('samples · energy')
      expect(await page.locator('tr.differs').count()).toBeGreaterThan(5)
      await page.locator('header button:text-is("follow")').waitFor()
      await page.keyboard.press('t')
      await page.keyboard.press('t')
      expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark')
      await page.setViewportSize({ width: 390, height: 844 })
      // plots take their new width a frame later
      await page.waitForFunction(() => document.documentElement.scrollWidth <= window.innerWidth)
      await keep('phone')
      await page.keyboard.press('?')
      await page.locator('dialog[open] dt:text-is("j k")').waitFor()
      await page.locator('dialog button').click()
      expect(complaints).toEqual([])
    } finally {
      await browser?.close()
      await server.close()
      vi.restoreAllMocks()
      await rm(folder, { recursive: true })
    }
  },
)

/** Titles of the plots that have lines in them. */
async function drawnPlots(page: Page): Promise<string[]> {
  const titles: string[] = []
  for (const figure of await page.locator('figure.plot').all()) {
    const title = await figure.locator('figcaption').evaluate((caption) => caption.firstChild?.textContent ?? '')
    const drawn = await figure.locator('canvas').evaluate((canvas: HTMLCanvasElement) => {
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
      // colours of lines are far from grey
      return data.some((_, i) => i % 4 === 0 && data[i + 3]! > 200 && Math.max(data[i]!, data[i + 1]!, data[i + 2]!) - Math.min(data[i]!, data[i + 1]!, data[i + 2]!) > 60) // biome-ignore format: one line
    })
    if (drawn) titles.push(title)
  }
  return titles
}

const inked = (page: Page, selector: string) =>
  page.locator(selector).evaluate((canvas: HTMLCanvasElement) => {
    const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
    return data.reduce((count, value, i) => count + Number(i % 4 === 3 && value > 100), 0)
  })
