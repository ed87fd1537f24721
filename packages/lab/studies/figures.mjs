// Pictures of one figure on a dark ground, and a rule that reads off a picture which: shapes, colours and places in several kinds of data,
// to see whether what holds for discs holds for others.
import { correlation, uniforms } from './discs.mjs'

const COLOURS = { red: [1, 0.1, 0.1], green: [0.1, 1, 0.1], blue: [0.1, 0.1, 1], yellow: [1, 1, 0.1] }

/** How far a point lies outside of each shape of radius 1 about 0, in radii; below 0: within. */
const SHAPES = {
  triangle: (x, y) => Math.max(y - 0.8, 0.894 * Math.abs(x) - 0.447 * y - 0.45),
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) - 0.85,
  ring: (x, y) => Math.abs(Math.hypot(x, y) - 0.75) - 0.25,
}

/** A picture shows a figure where it correlates so well with the nearest one. */
const RECOGNISED = 0.9

/**
 * Kinds of data: size of a picture, channels, samples, and what is told of each. Places are of the middle, in thirds or halves of the side;
 * what is not told varies freely.
 */
export const kinds = {
  'colour and place': { side: 20, colours: 4, places: 3, samples: 400, told: ['colour', 'place'] },
  'three attributes': { side: 16, colours: 3, places: 2, samples: 800, told: ['shape', 'colour', 'place'] },
  grey: { side: 12, colours: 0, places: 2, samples: 300, told: ['shape', 'place'] },
}

const names = {
  shape: () => Object.keys(SHAPES),
  colour: ({ colours }) => Object.keys(COLOURS).slice(0, colours),
  place: ({ places }) => (places === 2 ? ['left', 'right'] : ['left', 'middle', 'right']),
}

/** How much of each pixel a figure covers: the edge is one pixel soft. */
function cover(shape, side, x, y, radius) {
  return Float32Array.from({ length: side * side }, (_, i) => {
    const [dx, dy] = [(i % side) + 0.5 - x, Math.floor(i / side) + 0.5 - y]
    return Math.min(1, Math.max(0, 0.5 - radius * SHAPES[shape](dx / radius, dy / radius)))
  })
}

/** A data set of a kind; count: of its samples where not all. */
export function figures(kind, seed, count = kinds[kind].samples) {
  const { side, colours, places, told } = kinds[kind]
  const u = uniforms(seed)
  const within = (min, max) => min + (max - min) * u()
  const channels = colours > 0 ? 3 : 1
  const area = side * side
  const pictures = new Float32Array(count * channels * area)
  const classes = Array.from({ length: count }, (_, i) => {
    const radius = within(0.16, 0.22) * side
    const is = {
      shape: Math.floor(3 * u()),
      colour: Math.floor(Math.max(1, colours) * u()),
      place: Math.floor(places * u()),
    }
    // no middle lies so near to a border between places that none could tell
    const free = (side - 2 * radius) / places
    const x = radius + free * (is.place + within(0.1, 0.9))
    const covered = cover(Object.keys(SHAPES)[is.shape], side, x, within(radius, side - radius), radius)
    const bright = within(0.75, 1)
    for (let c = 0; c < channels; c++) {
      const light = channels === 1 ? bright : bright * Object.values(COLOURS)[is.colour][c]
      for (let p = 0; p < area; p++) pictures[(channels * i + c) * area + p] = 2 * light * covered[p] - 1
    }
    return told.map((name) => is[name])
  })
  const attributes = told.map((name) => {
    const values = names[name](kinds[kind])
    return { name, size: values.length, values }
  })
  return {
    name: `${kind} ${seed}`,
    size: count,
    shape: [channels, side, side],
    labels: { attributes },
    read: (i, out, at) => out.set(pictures.subarray(channels * area * i, channels * area * (i + 1)), at),
    label: (i) => classes[i],
  }
}

/** What is told of a picture of a kind, and how well it correlates with the nearest figure; null where it shows none. */
export function seenFigure(kind, picture) {
  const { side, colours, places, told } = kinds[kind]
  const area = side * side
  const channels = picture.length / area
  const light = Float32Array.from({ length: area }, (_, p) => {
    let most = 0
    for (let c = 0; c < channels; c++) most = Math.max(most, (picture[c * area + p] + 1) / 2)
    return most
  })
  const mass = light.reduce((a, b) => a + b, 0)
  const middle = (of) => light.reduce((a, v, i) => a + v * (of(i) + 0.5), 0) / mass
  const [mx, my] = [middle((i) => i % side), middle((i) => Math.floor(i / side))]
  let best = { match: -1 }
  for (const shape of Object.keys(SHAPES))
    for (const part of [0.16, 0.18, 0.2, 0.22])
      for (let dx = -1; dx <= 1; dx += 0.5)
        for (let dy = -1.5; dy <= 1.5; dy += 0.5) {
          const figure = cover(shape, side, mx + dx, my + dy, part * side)
          const match = correlation(light, figure)
          if (match > best.match) best = { match, shape, x: mx + dx, radius: part * side, figure }
        }
  if (best.match < RECOGNISED) return null
  const tone = Array.from({ length: channels }, (_, c) =>
    best.figure.reduce((sum, f, p) => sum + (f * (picture[c * area + p] + 1)) / 2, 0),
  )
  const likeness = Object.values(COLOURS)
    .slice(0, colours)
    .map((colour) => dot(colour, tone) / Math.sqrt(dot(colour, colour) * dot(tone, tone) || 1))
  const place = Math.floor((places * (best.x - best.radius)) / (side - 2 * best.radius))
  const is = {
    shape: Object.keys(SHAPES).indexOf(best.shape),
    colour: likeness.indexOf(Math.max(...likeness)),
    place: Math.min(places - 1, Math.max(0, place)),
  }
  return { classes: told.map((name) => is[name]), match: best.match }
}

const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0)
