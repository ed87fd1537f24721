import { integer } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { type OptionRow, type RowsOf, text, toggle, whole } from '../base/option-table.js'
import { COLOURS, isColour } from './background.js'
import type { ImageOptions } from './images.js'

/** How data are read. */

export interface LoadDatasetOptions extends ImageOptions {
  /** IDX file of class indices, where the data set does not bring its own labels. */
  labels?: string
  /** Only the first samples, at most this number. */
  limit?: number
}

const resize: OptionRow<number | [number, number]> = {
  ...whole('resize images to this side', { max: 4096, value: 'side' }),
  check(name, value) {
    if (!Array.isArray(value)) return integer(name, value, 1, 4096)
    if (value.length !== 2) throw invalid(name, 'a side or [height, width]', value)
    return [integer(name, value[0], 1, 4096), integer(name, value[1], 1, 4096)]
  },
}

const channels: OptionRow<1 | 3> = {
  kind: 'whole',
  range: { min: 1, max: 3 },
  help: '1: to grey, 3: to colour',
  check(name, value) {
    if (value === 1 || value === 3) return value
    throw invalid(name, '1 or 3', value)
  },
}

const background: OptionRow<string> = {
  ...text('what transparent parts of pictures are laid on (black)', COLOURS, { value: 'colour' }),
  check(name, value) {
    if (typeof value === 'string' && isColour(value)) return value
    throw invalid(name, COLOURS, value)
  },
}

/** The options, once: ranges, flags and help. */
export const readingRows: RowsOf<
  LoadDatasetOptions,
  'labels' | 'resize' | 'channels' | 'icc' | 'background' | 'limit'
> = {
  labels: text('IDX file of class indices, where the data bring no labels', 'a file', {
    flag: 'label-file',
    value: 'file',
  }),
  resize,
  channels,
  icc: toggle('convert the colours of pictures to sRGB by the profiles in their files'),
  background,
  limit: whole('only the first samples, at most this number'),
}
