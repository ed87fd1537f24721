import { isPreconditioner, namedArguments } from './edm-classes.js'
import { Opaque } from './pickle.js'
import { PersistentObject } from './pickle-globals.js'
import { plain } from './plain.js'
import { TorchTensor } from './torch-tensor.js'

/** A network that was pickled as a whole, with its class and the arguments that it was made with. */

export interface PickledModel {
  className: string | null
  args: Record<string, unknown> | null
  preconditioning: { className: string; args: Record<string, unknown> } | null
  tensors: Map<string, TorchTensor>
}

type Fail = (what: string) => never

const MAX_DEPTH = 64
/** Modules and tensors of one network: a pickle may hold one module in many places. */
const MAX_PARTS = 1e5
const MAX_NAME = 2000

/** The attributes of a torch.nn.Module, or null for anything else. */
function attributes(value: unknown): Map<unknown, unknown> | null {
  return value instanceof Opaque && value.state instanceof Map && value.state.get('_modules') instanceof Map
    ? value.state
    : null
}

/** Whether a value of a pickle is a module of PyTorch. */
export function isModule(value: unknown): boolean {
  return attributes(value) !== null
}

/**
 * What a pickled network holds. A preconditioner of NVlabs/edm is told apart from the raw network in it (its `model`), whose
 * tensors have the names of its own state dict. Throws what fail throws.
 */
export function describeNetwork(module: unknown, fail: Fail): PickledModel {
  const outer = module as Opaque
  const inner = (attributes(outer)!.get('_modules') as Map<unknown, unknown>).get('model')
  if (!(outer instanceof PersistentObject && isPreconditioner(outer.type) && isModule(inner)))
    return { ...describeOne(outer, fail), preconditioning: null }
  const { args } = describeOne(outer, fail)
  // what the object knows of itself: sigma_min and the like, of which the arguments may say nothing
  const known: Record<string, unknown> = Object.create(null)
  for (const [name, value] of attributes(outer)!)
    if (typeof name === 'string' && !name.startsWith('_') && name !== 'training' && isScalar(value)) known[name] = value
  const preconditioning = { className: outer.type, args: { ...args, ...known } }
  return { ...describeOne(inner as Opaque, fail), preconditioning }
}

const isScalar = (value: unknown) => ['number', 'boolean', 'string'].includes(typeof value)

function describeOne(module: Opaque, fail: Fail): Omit<PickledModel, 'preconditioning'> {
  const tensors = stateDict(module, fail)
  if (!(module instanceof PersistentObject)) return { className: module.type.split('.').at(-1)!, args: null, tensors }
  const state = attributes(module)!
  const positional = plain(state.get('_init_args') ?? [], fail)
  const named = plain(state.get('_init_kwargs') ?? new Map(), fail)
  if (!Array.isArray(positional) || typeof named !== 'object' || named === null || Array.isArray(named))
    return fail(
      `the arguments of ${JSON.stringify(module.type.slice(0, 100))} are not as torch_utils.persistence writes them`,
    )
  const args = namedArguments(module.type, positional, named as Record<string, unknown>, fail)
  return { className: module.type, args, tensors }
}

/** The tensors of a module by the names of `Module.state_dict`: parameters, then persistent buffers, then those of its modules. */
function stateDict(module: Opaque, fail: Fail): Map<string, TorchTensor> {
  const tensors = new Map<string, TorchTensor>()
  let left = MAX_PARTS
  const walk = (module: unknown, prefix: string, depth: number): void => {
    const state = attributes(module)
    if (!state) return // None, or a submodule without anything
    if (--left < 0) fail(`the network has more than ${MAX_PARTS} parts`)
    if (depth > MAX_DEPTH) fail(`the network is nested more than ${MAX_DEPTH} deep`)
    const transient = state.get('_non_persistent_buffers_set')
    for (const kind of ['_parameters', '_buffers']) {
      const entries = state.get(kind)
      if (!(entries instanceof Map)) continue
      for (const [name, tensor] of entries) {
        if (kind === '_buffers' && transient instanceof Set && transient.has(name)) continue
        if (!(tensor instanceof TorchTensor) || typeof name !== 'string') continue
        if (--left < 0) fail(`the network has more than ${MAX_PARTS} parts`)
        if (prefix.length + name.length > MAX_NAME) fail(`a name in the network is longer than ${MAX_NAME} characters`)
        tensors.set(prefix + name, tensor)
      }
    }
    for (const [name, part] of state.get('_modules') as Map<unknown, unknown>)
      if (typeof name === 'string') walk(part, `${prefix}${name}.`, depth + 1)
  }
  walk(module, '', 0)
  return tensors
}
