// Tiny landscapes, to try one's own pictures with: a house, a tree or a boat, by day or by night, 600 PNG files of 24 x 24 with their labels.
//
//   node packages/lab/studies/landscapes.mjs FOLDER && feynkac fit FOLDER --minutes 6
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { uniforms } from './discs.mjs'

const COUNT = 600
const SIDE = 24
const SUBJECTS = ['house', 'tree', 'boat']
const TIMES = ['day', 'night']

const folder = process.argv[2]
if (!folder) throw new Error('expected a folder: node packages/lab/studies/landscapes.mjs FOLDER')
await mkdir(folder, { recursive: true })

const u = uniforms(5)
const within = (min, max) => min + (max - min) * u()
const rgb = (...values) => `rgb(${values.map((v) => Math.round(v)).join()})`

/** One of a hundred units a side, as SVG. */
function landscape(subject, time) {
  const day = time === 0
  const lit = (...values) => rgb(...values.map((v) => (day ? v : 0.55 * v)))
  const sky = day ? rgb(within(170, 220), within(210, 240), 250) : rgb(within(15, 35), within(15, 40), within(50, 90))
  const [horizon, x, size, light] = [within(60, 76), within(30, 70), within(13, 20), within(12, 88)]
  const sun = `<circle cx="${light}" cy="15" r="7" fill="${day ? rgb(255, 230, 80) : rgb(240, 240, 230)}"/>`
  const shadow = day ? '' : `<circle cx="${light + 4}" cy="13" r="6" fill="${sky}"/>` // a crescent is left
  const land = subject === 2 ? (day ? rgb(40, 90, 190) : rgb(10, 25, 70)) : day ? rgb(60, 150, 60) : rgb(15, 50, 25)
  const ground = `<rect y="${horizon}" width="100" height="${100 - horizon}" fill="${land}"/>`
  const box = (left, top, width, height, fill) =>
    `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="${fill}"/>`
  const shape = (fill, ...points) => `<polygon fill="${fill}" points="${points.join(' ')}"/>`
  const base = horizon - size
  const things = [
    () =>
      box(x - size, base, 2 * size, size + 6, lit(200, within(80, 140), 60)) +
      shape(lit(110, 60, 40), x - size - 4, base, x + size + 4, base, x, base - size) +
      box(x - 4, horizon - 8, 8, 14, rgb(245, 220, 110)),
    () =>
      box(x - 3, base, 6, size + 6, lit(110, 70, 40)) +
      `<ellipse cx="${x}" cy="${base - 2}" rx="${size}" ry="${size / 2 + 9}" fill="${lit(30, within(120, 180), 40)}"/>`,
    () =>
      shape(lit(150, 70, 40), x - size, horizon - 2, x + size, horizon - 2, x + size - 6, horizon + 8, x - size + 6, horizon + 8) + // biome-ignore format: one line
      shape(lit(250, 250, 245), x, horizon - 4, x, base - size - 8, x + size, horizon - 4),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" width="${4 * SIDE}" height="${4 * SIDE}"><rect width="100" height="100" fill="${sky}"/>${sun}${shadow}${ground}${things[subject]()}</svg>`
}

const labels = []
for (let i = 0; i < COUNT; i++) {
  const [subject, time] = [Math.floor(3 * u()), Math.floor(2 * u())]
  const name = `${String(i).padStart(4, '0')}.png`
  await sharp(Buffer.from(landscape(subject, time)))
    .resize(SIDE, SIDE)
    .removeAlpha()
    .png()
    .toFile(join(folder, name))
  labels.push([name, [subject, time]])
}
await writeFile(join(folder, 'dataset.json'), JSON.stringify({ labels }))
await writeFile(join(folder, 'attributes.json'), JSON.stringify({ subject: SUBJECTS, time: TIMES }))
