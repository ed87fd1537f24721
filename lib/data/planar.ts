/**
 * Two-dimensional sets. Ring, bar, bars and box are the composition problems of Du et al. 2023 (Reduce, Reuse, Recycle), larger by
 * sqrt(2) so that the standard deviation is about 0.5, the sigma_data of the models; all share that scale and can be composed.
 */
export interface PlanarSet {
  /** Default values of the parameters. */
  parameters: Record<string, number>
  /** One point from five uniforms in (0, 1). */
  point(u: readonly number[], parameters: Record<string, number>): [number, number]
  /** Density at a point, where it has a closed form. */
  density?(x: number, y: number, parameters: Record<string, number>): number
}

const SCALE = Math.SQRT2

/** Box and Muller's two normals from two uniforms. */
function normals(u: number, v: number): [number, number] {
  const r = Math.sqrt(-2 * Math.log(u))
  return [r * Math.cos(2 * Math.PI * v), r * Math.sin(2 * Math.PI * v)]
}

function ringMeans({ modes, radius }: Record<string, number>): [number, number][] {
  return Array.from({ length: modes }, (_, k) => {
    const angle = (2 * Math.PI * k) / modes
    return [radius * Math.cos(angle), radius * Math.sin(angle)]
  })
}

const between = (u: number, half: number) => (2 * u - 1) * half

export const planarSets: Record<string, PlanarSet> = {
  /** Gaussians on a circle. */
  ring: {
    parameters: { modes: 8, radius: 0.5 * SCALE, std: 0.03 * SCALE },
    point([u, v, w], p) {
      const [mx, my] = ringMeans(p)[Math.floor(u * p.modes)]
      const [nx, ny] = normals(v, w)
      return [mx + p.std * nx, my + p.std * ny]
    },
    density(x, y, p) {
      const variance = p.std ** 2
      const term = ([mx, my]: [number, number]) => Math.exp(-((x - mx) ** 2 + (y - my) ** 2) / (2 * variance))
      return ringMeans(p).reduce((sum, mean) => sum + term(mean), 0) / (2 * Math.PI * variance * p.modes)
    },
  },
  /** Uniform on an upright bar |x - centre| < width, |y| < height. */
  bar: {
    parameters: { centre: 0, width: 0.2 * SCALE, height: 0.7 * SCALE },
    point: ([u, v], p) => [p.centre + between(u, p.width), between(v, p.height)],
    density: (x, y, p) =>
      Math.abs(x - p.centre) < p.width && Math.abs(y) < p.height ? 1 / (4 * p.width * p.height) : 0,
  },
  /** Two bars, left and right, equally likely. */
  bars: {
    parameters: { distance: 0.35 * SCALE, width: 0.1 * SCALE, height: 0.5 * SCALE },
    point: ([u, v, w], p) => [(w < 0.5 ? -1 : 1) * p.distance + between(u, p.width), between(v, p.height)],
    density: (x, y, p) =>
      Math.abs(Math.abs(x) - p.distance) < p.width && Math.abs(y) < p.height ? 1 / (8 * p.width * p.height) : 0,
  },
  /** Uniform on the square |x|, |y| < half. */
  box: {
    parameters: { half: 0.7 * SCALE },
    point: ([u, v], { half }) => [between(u, half), between(v, half)],
    density: (x, y, { half }) => (Math.abs(x) < half && Math.abs(y) < half ? 1 / (4 * half * half) : 0),
  },
  /** Two interleaved half circles with noise. */
  moons: {
    parameters: { noise: 0.04 },
    point([u, v, w, z], { noise }) {
      const angle = Math.PI * u
      const [nx, ny] = normals(v, w)
      const lower = z < 0.5
      const x = lower ? 1 - Math.cos(angle) : Math.cos(angle)
      const y = lower ? 0.5 - Math.sin(angle) : Math.sin(angle)
      return [0.6 * (x - 0.5) + noise * nx, 0.9 * (y - 0.25) + noise * ny]
    },
  },
  /** A spiral with noise. */
  swissroll: {
    parameters: { noise: 0.02, turns: 1.5 },
    point([u, v, w], { noise, turns }) {
      const t = 0.3 + 0.7 * Math.sqrt(u) // the root makes the arc about evenly dense
      const angle = 2 * Math.PI * turns * t
      const [nx, ny] = normals(v, w)
      return [0.95 * t * Math.cos(angle) + noise * nx, 0.95 * t * Math.sin(angle) + noise * ny]
    },
  },
  /** Every second cell of a cells x cells board on |x|, |y| < half. */
  checkerboard: {
    parameters: { cells: 4, half: 0.9 },
    point([u, v, w], { cells, half }) {
      // the k-th of the cells with an even sum of row and column
      const k = Math.floor(w * Math.ceil((cells * cells) / 2))
      const row = Math.floor((2 * k) / cells)
      const column = cells % 2 === 0 ? ((2 * k) % cells) + (row % 2) : (2 * k) % cells
      return [((2 * (column + u)) / cells - 1) * half, ((2 * (row + v)) / cells - 1) * half]
    },
    density(x, y, { cells, half }) {
      const column = Math.floor(((x / half + 1) / 2) * cells)
      const row = Math.floor(((y / half + 1) / 2) * cells)
      const inside = Math.min(column, row) >= 0 && Math.max(column, row) < cells
      return inside && (row + column) % 2 === 0
        ? (cells * cells) / (4 * half * half * Math.ceil((cells * cells) / 2))
        : 0
    },
  },
}
