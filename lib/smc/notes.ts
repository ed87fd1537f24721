import { isMeasured } from './consistency.js'
import type { SmcDiagnostics } from './diagnostics.js'
import type { Target } from './energy-function.js'
import type { WeightScheme } from './kernels.js'
import { isLearnt } from './learnt.js'

/** What samples are of, where that is not what was asked for: SmcResult.note and SampleResult.note, and the first lines of the command. */

interface Ended {
  collapsed: boolean
  logWeights: Float64Array
  diagnostics: Pick<SmcDiagnostics, 'distinctRoots' | 'families'>
}

/** The note on a run of smc. */
export function noteOf(
  target: Target,
  { weights, weighAbove, sigmas }: { weights: WeightScheme; weighAbove: number; sigmas: Float64Array },
  { collapsed, logWeights, diagnostics: { distinctRoots, families } }: Ended,
): string | undefined {
  const learnt = isLearnt(target)
  if (collapsed) {
    const left = `the samples are copies of a few: all descend from ${distinctRoots} of ${logWeights.length} particles, in effect from ${families.toFixed(1)}, and logZ means nothing`
    const means = learnt
      ? "Try no weights, weights: 'none' (--weights none): weights hold the error of a learnt energy between noise levels"
      : 'Try four times the levels (sigmas, --steps)'
    return `collapsed: ${left}. ${means}`
  }
  if (weights === 'none') {
    const above = isMeasured(target) ? "weighAbove: 'auto' (--weigh-above auto)" : 'weighAbove: 0.5 (--weigh-above 0.5)'
    const how = learnt
      ? `To weigh, of which no gain was measured on pictures: ${above}`
      : "To weigh: weights: 'bridge' (--weights bridge)"
    return isSingle(target)
      ? `no weights: the samples are the model's own, as its gradients draw them. ${how}`
      : `no weights: the samples approximate target '${target.name}' by its gradients alone: nothing corrects the shares of its modes. ${guidance(target)}${prior(target)}${how}`
  }
  if (weights === 'tilt' && target.factored && learnt)
    return "weighed by the set or the reward alone: the samples are the learnt model's own, without weights, times that. To weigh by its energy too: weights: 'bridge' (--weights bridge)"
  if (weights === 'likelihood') {
    if (weighAbove === 0) return undefined // one model: plain samples of it are what was asked for
    const found = Number(weighAbove.toPrecision(3))
    const how = `at noise levels from ${found} up${target.models.length > 1 ? ' (experimental for more than one model)' : ''}`
    return weighAbove < sigmas[0]
      ? `weighed by likelihoods ${how}: plain samples of a model, in the shares that target '${target.name}' has there; below that, nothing corrects them`
      : 'not weighed: likelihoods would leave less than half of the particles at the largest noise already, so these are plain samples of a model. More draws (draws) make likelihoods less noisy'
  }
  if (weighAbove > sigmas[sigmas.length - 1])
    return `weighed only at noise levels from ${weighAbove} up: below that, the samples follow the gradients of target '${target.name}', and nothing corrects them`
  return undefined
}

/** The note on samples without weights of a target: summed scores, unless it is one model and nothing else. */
export function baselineNote(target: Target): string | undefined {
  if (isSingle(target)) return undefined
  return `a baseline: the scores of target '${target.name}' are summed at every noise level, which does not sample it. smc (--method smc) has the kernels that fit it, and weights`
}

/** What corrects conditions that a learnt energy misses where p(x | c_1) p(x | c_2) ... / p(x)^(n - 1) is asked for. */
function guidance(target: Target): string {
  const { exponents, models } = target
  const n = (exponents?.length ?? 0) - 1
  if (n < 2 || !isLearnt(target)) return ''
  const prior = exponents!.indexOf(1 - n)
  if (exponents!.filter((w) => w === 1).length !== n || prior < 0 || models[prior].conditional) return ''
  const surer = exponents!.map((w) => (w === 1 ? 2 : 1 - 2 * n))
  return `Where conditions are missed: weights [${surer.join(', ')}] (--guidance 2). `
}

/** What takes the noise from NOT of a learnt energy: of p / q^a a mode keeps 1 / (1 - a) times the variance that the models are told of. */
function prior({ exponents, models }: Target): string {
  const sum = exponents?.reduce((total, w) => total + w, 0) ?? 1
  if (!models.every(isLearnt) || !exponents?.some((w) => w < 0) || sum > 1 - 1e-6) return ''
  return `Its exponents sum to ${Number(sum.toPrecision(3))}, so that more noise stays than the models are told of: times p(x)^${Number((1 - sum).toPrecision(3))} they sum to 1, NOT of what a condition adds (--divide-prior). `
}

/** Whether a target is one density and nothing else. */
const isSingle = ({ models, exponents }: Target): boolean => models.length === 1 && exponents?.[0] === 1
