/**
 * The forms of an energy on a network h (docs/concepts/energies.md section 1, docs/residual.md): 'dot', 'l2' and 'norm' are made of Phi(u), 'residual' is
 * |x - D_h|^2 / (2 sigma^2), D_h the denoiser that h would be.
 */
export const heads = ['dot', 'l2', 'norm', 'residual'] as const

/** How an energy is made of its trunk (docs/concepts/energies.md). */
export type Head = (typeof heads)[number]

/** For messages. */
export const energyKinds = `'${[...heads].join("', '")}' or 'joint'`
