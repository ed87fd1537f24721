// Pictures of one coloured disc on a dark ground, 16x16x3, with the attributes colour and side; and a rule that reads them off a picture.

const SIDE = 16
const AREA = SIDE * SIDE
const COLOURS = ['red', 'green', 'blue']
const SIDES = ['left', 'right']
/** A picture shows a disc where it correlates so well with the nearest one. */
const RECOGNISED = 0.9

/** Uniform numbers of a seed (mulberry32). */
export function uniforms(seed) {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** How much of each pixel a disc covers: the edge is one pixel soft. */
function cover(x, y, radius) {
  return Float32Array.from({ length: AREA }, (_, i) => {
    const distance = Math.hypot((i % SIDE) + 0.5 - x, Math.floor(i / SIDE) + 0.5 - y)
    return Math.min(1, Math.max(0, radius + 0.5 - distance))
  })
}

/** A data set of `count` discs. */
export function discs(count, seed) {
  const u = uniforms(seed)
  const within = (min, max) => min + (max - min) * u()
  const pictures = new Float32Array(count * 3 * AREA)
  const classes = Array.from({ length: count }, (_, i) => {
    const [colour, side] = [Math.floor(3 * u()), Math.floor(2 * u())]
    const light = COLOURS.map((_, c) => (c === colour ? within(0.75, 1) : within(0, 0.2)))
    const covered = cover(side ? within(10, 12.5) : within(3.5, 6), within(4, 12), within(2.5, 4))
    light.forEach((level, c) => {
      for (let p = 0; p < AREA; p++) pictures[(3 * i + c) * AREA + p] = 2 * level * covered[p] - 1
    })
    return [colour, side]
  })
  const attributes = [
    { name: 'colour', size: 3, values: COLOURS },
    { name: 'side', size: 2, values: SIDES },
  ]
  return {
    name: `discs ${seed}`,
    size: count,
    shape: [3, SIDE, SIDE],
    labels: { attributes },
    read: (i, out, at) => out.set(pictures.subarray(3 * AREA * i, 3 * AREA * (i + 1)), at),
    label: (i) => classes[i],
  }
}

/** Colour and side of a picture [3, 16, 16]; null where it shows no disc. */
export function seen(picture) {
  const light = picture.map((v) => (v + 1) / 2)
  const sums = COLOURS.map((_, c) => light.subarray(c * AREA, (c + 1) * AREA).reduce((a, b) => a + b, 0))
  const colour = sums.indexOf(Math.max(...sums))
  const own = light.subarray(colour * AREA, (colour + 1) * AREA)
  const mass = own.reduce((a, v) => a + Math.max(0, v), 0)
  const centre = (of) => own.reduce((a, v, i) => a + Math.max(0, v) * (of(i) + 0.5), 0) / mass
  const x = centre((i) => i % SIDE)
  const y = centre((i) => Math.floor(i / SIDE))
  const best = Math.max(...[2.5, 3, 3.5, 4].map((radius) => correlation(own, cover(x, y, radius))))
  return best < RECOGNISED ? null : [colour, x < SIDE / 2 ? 0 : 1]
}

/** The correlation of two pictures. */
export function correlation(a, b) {
  const mean = (v) => v.reduce((s, x) => s + x, 0) / v.length
  const [ma, mb] = [mean(a), mean(b)]
  let [ab, aa, bb] = [0, 0, 0]
  a.forEach((v, i) => {
    ab += (v - ma) * (b[i] - mb)
    aa += (v - ma) ** 2
    bb += (b[i] - mb) ** 2
  })
  return ab / Math.sqrt(aa * bb || 1)
}
