/**
 * The arguments of the classes of NVlabs/edm (training/networks.py) in their order, with the defaults that apply when a pickle
 * does not name them: a pickled network says only what it was called with.
 */

/** Names with defaults; undefined where one must be given. */
type Signature = readonly (readonly [name: string, value?: unknown])[]

const COMMON: Signature = [['img_resolution'], ['in_channels'], ['out_channels'], ['label_dim', 0], ['augment_dim', 0]]
const WRAPPED: Signature = [['img_resolution'], ['img_channels'], ['label_dim', 0], ['use_fp16', false]]

const SIGNATURES = new Map<string, Signature>([
  [
    'SongUNet',
    [
      ...COMMON,
      ['model_channels', 128],
      ['channel_mult', [1, 2, 2, 2]],
      ['channel_mult_emb', 4],
      ['num_blocks', 4],
      ['attn_resolutions', [16]],
      ['dropout', 0.1],
      ['label_dropout', 0],
      ['embedding_type', 'positional'],
      ['channel_mult_noise', 1],
      ['encoder_type', 'standard'],
      ['decoder_type', 'standard'],
      ['resample_filter', [1, 1]],
    ],
  ],
  [
    'DhariwalUNet',
    [
      ...COMMON,
      ['model_channels', 192],
      ['channel_mult', [1, 2, 3, 4]],
      ['channel_mult_emb', 4],
      ['num_blocks', 3],
      ['attn_resolutions', [32, 16, 8]],
      ['dropout', 0.1],
      ['label_dropout', 0],
    ],
  ],
  [
    'VPPrecond',
    [...WRAPPED, ['beta_d', 19.9], ['beta_min', 0.1], ['M', 1000], ['epsilon_t', 1e-5], ['model_type', 'SongUNet']],
  ],
  ['VEPrecond', [...WRAPPED, ['sigma_min', 0.02], ['sigma_max', 100], ['model_type', 'SongUNet']]],
  ['iDDPMPrecond', [...WRAPPED, ['C_1', 0.001], ['C_2', 0.008], ['M', 1000], ['model_type', 'DhariwalUNet']]],
  [
    'EDMPrecond',
    [...WRAPPED, ['sigma_min', 0], ['sigma_max', Infinity], ['sigma_data', 0.5], ['model_type', 'DhariwalUNet']],
  ],
])

/** Whether a class wraps a raw network, its `model`, with the scalings of its noise level. */
export function isPreconditioner(className: string): boolean {
  return /Precond$/.test(className)
}

/**
 * All arguments of an object by their names. Those of a class that is not known keep their positions as names.
 * Throws what fail throws when there are more positional ones than the class has.
 */
export function namedArguments(
  className: string,
  positional: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
  fail: (what: string) => never,
): Record<string, unknown> {
  const signature = SIGNATURES.get(className)
  if (signature && positional.length > signature.length)
    fail(`${className} was made with ${positional.length} positional arguments but has ${signature.length}`)
  const args: Record<string, unknown> = Object.create(null)
  for (const [name, value] of signature ?? []) if (value !== undefined) args[name] = structuredClone(value)
  for (const [i, value] of positional.entries()) args[signature?.[i][0] ?? String(i)] = value
  return Object.assign(args, named)
}
