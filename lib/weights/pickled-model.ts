import { describeNetwork, isModule, type PickledModel } from './pickled-network.js'
import { TorchTensor } from './torch-tensor.js'

/** Which network of a pickled object is meant: pickles of training runs hold several, beside optimizers and counters. */

export interface ChosenModel extends PickledModel {
  /** Where it is in the object, '' for the object itself: 'ema', 'state_dict'. */
  network: string
  /** The places of all networks that could have been chosen. */
  networks: string[]
}

interface Candidate {
  name: string
  kind: 'module' | 'pure' | 'mixed'
  value: unknown
}

/** Where a training run has several networks: the average of the weights before what is trained. */
const PREFERRED = ['ema', 'net', 'model']
/** Dicts within dicts in which a state dict is looked for. */
const MAX_DEPTH = 4
const MAX_DICTS = 1000
/**
 * Chooses a network of a pickled object: a pickled module, preferring 'ema', else the one dict of names and tensors.
 * network: its place. Throws what fail throws, with the places, where there is none or several could be meant.
 */
export function chooseModel(value: unknown, network: string | undefined, fail: (what: string) => never): ChosenModel {
  const all = [...candidates(value)]
  if (all.length === 0)
    fail('it holds no network: expected a state dict (names and tensors) or a pickled network of NVlabs/edm')
  const show = (list: Candidate[]) =>
    list
      .slice(0, 10)
      .map(({ name }) => (name === '' ? 'the whole' : `'${name.slice(0, 80)}'`))
      .join(', ') + (list.length > 10 ? ` and ${list.length - 10} more` : '')
  if (network !== undefined) {
    const found = all.find(({ name }) => name === network)
    return found
      ? describe(found, all, fail)
      : fail(`it has no network ${JSON.stringify(network)}: it holds ${show(all)}`)
  }
  for (const kind of ['module', 'pure', 'mixed'] as const) {
    const some = all.filter((candidate) => candidate.kind === kind)
    if (some.length === 0) continue
    const preferred = kind === 'module' && PREFERRED.map((name) => some.find((c) => c.name === name)).find(Boolean)
    if (preferred) return describe(preferred, all, fail)
    if (some.length === 1) return describe(some[0], all, fail)
    fail(`it holds several networks, ${show(some)}: choose one with the option network`)
  }
  return fail('it holds no network')
}

function* candidates(root: unknown): Generator<Candidate> {
  let dicts = 0
  const seen = new Set<unknown>()
  const queue: { name: string; value: unknown; depth: number }[] = [{ name: '', value: root, depth: 0 }]
  for (const { name, value, depth } of queue) {
    if (isModule(value)) yield { name, kind: 'module', value }
    if (!(value instanceof Map) || seen.has(value) || ++dicts > MAX_DICTS) continue
    seen.add(value)
    let tensors = 0
    for (const [key, item] of value) {
      if (item instanceof TorchTensor && typeof key === 'string') tensors++
      if (depth < MAX_DEPTH && typeof key === 'string' && (item instanceof Map || isModule(item)))
        queue.push({ name: name === '' ? key : `${name}.${key}`, value: item, depth: depth + 1 })
    }
    if (tensors > 0) yield { name, kind: tensors === value.size ? 'pure' : 'mixed', value }
  }
}

function describe({ name, kind, value }: Candidate, all: Candidate[], fail: (what: string) => never): ChosenModel {
  const place = { network: name, networks: all.map((candidate) => candidate.name) }
  if (kind === 'module') return { ...describeNetwork(value, fail), ...place }
  const tensors = new Map<string, TorchTensor>()
  for (const [key, item] of value as Map<unknown, unknown>)
    if (typeof key === 'string' && item instanceof TorchTensor) tensors.set(key, item)
  return { className: null, args: null, preconditioning: null, tensors, ...place }
}
