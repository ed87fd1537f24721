import assert from 'node:assert/strict'
import fs from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Reads the built site in a headless Chromium: every link of the navigation, the search, light and dark, the width of a telephone. Nothing
 * may be missing, and nothing may be said in the console. Needs Chromium on the machine (apt-get install chromium, or CHROMIUM=path).
 */

const dist = fileURLToPath(new URL('.vitepress/dist', import.meta.url))
const pictures = process.env.FEYNKAC_DOCS_PICTURES // a folder: what is seen is kept there

const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.png': 'image/png', '.svg': 'image/svg+xml', '.json': 'application/json', '.woff2': 'font/woff2' } // biome-ignore format: one line
const server = createServer((request, response) => {
  const wanted = decodeURIComponent(new URL(request.url, 'http://localhost').pathname)
  const file = path.join(dist, wanted.endsWith('/') ? `${wanted}index.html` : wanted)
  if (!file.startsWith(dist) || !fs.existsSync(file)) return response.writeHead(404).end()
  response.writeHead(200, { 'content-type': types[path.extname(file)] ?? 'application/octet-stream' })
  response.end(fs.readFileSync(file))
})

function chromium() {
  const known = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  return known.find((file) => file && fs.existsSync(file))
}

async function read(executablePath) {
  const { chromium: driver } = await import('playwright-core')
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const site = `http://127.0.0.1:${server.address().port}`
  const browser = await driver.launch({ executablePath, args: ['--no-sandbox'] }) // as root, which has no sandbox
  const complaints = []
  const open = async (settings) => {
    const page = await (await browser.newContext(settings)).newPage()
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(`${page.url()}: ${message.text()}`)
    })
    page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`))
    page.on('response', (response) => {
      if (response.status() >= 400) complaints.push(`${page.url()}: ${response.status()} for ${response.url()}`)
    })
    return page
  }
  const keep = (page, name) => pictures && page.screenshot({ path: path.join(pictures, `${name}.png`) })
  try {
    const page = await open({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' })
    await page.goto(site)
    const broken = () =>
      page.$$eval('img', (all) => all.filter((img) => img.complete && !img.naturalWidth).map((img) => img.src))
    assert.match(await page.innerText('.VPHero'), /sampled under control/)
    assert.deepEqual(await broken(), [])
    await keep(page, 'home')

    await page.click('.VPHero a[href*="first-composition"]')
    await page.waitForURL('**/first-composition.html')
    await page.waitForSelector('.VPSidebar a[href]')
    const links = await page.$$eval('.VPSidebar a[href]', (all) => [...new Set(all.map((a) => a.getAttribute('href')))])
    assert.ok(links.length > 100, `${links.length} pages in the navigation`)
    const chosen = links.filter((link, i) => !link.includes('/reference/api/') || i % 20 === 0)
    for (const link of chosen) {
      await page.goto(site + link)
      assert.deepEqual(await broken(), [], `${link} lacks pictures`)
      assert.ok((await page.innerText('.vp-doc h1')).length > 2, `${link} has no heading`)
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
      assert.ok(wide <= 0, `${link} is ${wide} pixels wider than the window`)
    }
    await page.goto(`${site}/concepts/smc.html`)
    await keep(page, 'smc-light')

    // keys that come before the page has been brought to life are lost
    await page.waitForFunction(() => document.querySelector('#app')?.__vue_app__)
    await page.keyboard.press('Control+k')
    await page.fill('#localsearch-input', 'conservativity')
    await page.waitForSelector('.VPLocalSearchBox .result')
    await keep(page, 'search')
    await page.keyboard.press('Enter')
    await page.waitForFunction(() => !document.querySelector('.VPLocalSearchBox'))
    assert.match(await page.innerText('.vp-doc'), /onservativity/)

    const dark = await open({ viewport: { width: 1280, height: 900 }, colorScheme: 'dark' })
    await dark.goto(`${site}/reference/smc.html`)
    const [ground, ink] = await dark.evaluate(() => {
      const { backgroundColor, color } = getComputedStyle(document.body)
      return [backgroundColor, color].map((text) =>
        text
          .match(/\d+/g)
          .slice(0, 3)
          .reduce((sum, c) => sum + Number(c), 0),
      )
    })
    assert.ok(ground < 150 && ink > 500, `dark: ground ${ground}, ink ${ink} of 765`)
    await keep(dark, 'smc-options-dark')

    const phone = await open({
      viewport: { width: 375, height: 740 },
      colorScheme: 'light',
      isMobile: true,
      hasTouch: true,
    })
    for (const link of [
      '/',
      '/start/own-pictures.html',
      '/reference/smc.html',
      '/degeneracy.html',
      '/reference/cli/train.html',
    ]) {
      await phone.goto(site + link)
      const wide = await phone.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
      assert.ok(wide <= 0, `${link} is ${wide} pixels wider than a telephone`)
    }
    await phone.goto(`${site}/start/own-pictures.html`)
    await phone.tap('.VPLocalNav .menu')
    await phone.waitForSelector('.VPSidebar.open')
    await phone.waitForTimeout(500) // for the movement of the menu, in what is kept
    await keep(phone, 'phone-menu')
    await phone.tap('.VPSidebar.open a[href*="guides/compose"]')
    await phone.waitForURL('**/compose.html')
    await phone.waitForTimeout(500)
    await keep(phone, 'phone')

    assert.deepEqual(complaints, [])
    console.log(`docs: ${chosen.length} pages read in Chromium, search, dark, telephone: nothing to complain of`)
  } finally {
    await browser.close()
    server.close()
  }
}

const found = chromium()
if (found) await read(found)
else console.log('docs: not read in a browser, as there is no Chromium here (apt-get install chromium)')
