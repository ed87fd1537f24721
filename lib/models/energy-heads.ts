/**
 * The forms of an energy on a network h (docs/concepts/energies.md section 1, docs/residual.md): 'dot', 'l2' and 'norm' are made of Phi(u), 'residual' is
 * |x - D_h|^2 / (2 sigma^2), D_h the denoiser that h would be.
 */
export const heads = ['dot', 'l2', 'norm', 'residual'] as const

export type Head = (typeof heads)[number]

/**
 * The head of a distillation that is given none: 'residual' for pictures and their latents, whose energies then agree between noise levels many
 * times better (docs/residual.md), 'dot' for vectors, where it gained nothing.
 */
export function distilledHead(shape: readonly number[]): Head {
  return shape.length === 3 ? 'residual' : 'dot'
}

/** For messages. */
export const energyKinds = `'${[...heads].join("', '")}' or 'joint'`
