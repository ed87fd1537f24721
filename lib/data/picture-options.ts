/** Options of pictures of samples; apart from those who draw, so that declarations name no type of Node's. */

export interface GridOptions {
  /** Pictures side by side; default as many as make a square. */
  columns?: number
  /** About as many pixels wide; default 1024. */
  size?: number
}

/** What `scatterPng` draws. */
export interface ScatterOptions {
  /** Numbers of one sample; default 2. */
  dim?: number
  /** The two coordinates that are drawn; default [0, 1]. */
  axes?: readonly [number, number]
  /** One weight per sample, not negative: the samples are drawn by them, and equal points lie on each other. */
  weights?: Float64Array
  /** Points at most, of more as many are drawn by chance; default 5000. */
  most?: number
  /** Side in points; the picture has twice as many pixels. Default 420. */
  size?: number
  /** Seed of what is drawn by chance; default 0. */
  seed?: number
}
