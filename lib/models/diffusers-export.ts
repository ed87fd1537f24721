import { ArgumentError } from '../base/errors.js'
import type { ModelInfo } from './info.js'

/** The scheduler of diffusers under which a network means what it means here: the way back of diffusers-schedule.ts. */
export function schedulerOf({ preconditioning, sigmaMin, sigmaMax }: ModelInfo): {
  scheduler: Record<string, unknown>
  /** The network centres its input, 2 x - 1. */
  centred: boolean
  pipeline: string
} {
  const { form, sigmaData, noise } = preconditioning
  if (form === 'edm' && isLog(noise, 0.25, 0))
    return {
      scheduler: {
        ...{ _class_name: 'EDMEulerScheduler', sigma_min: sigmaMin, sigma_max: sigmaMax, sigma_data: sigmaData },
        ...{ sigma_schedule: 'karras', num_train_timesteps: 1000, prediction_type: 'epsilon', rho: 7 },
      },
      centred: false,
      // DDPMPipeline would not scale the network's input
      pipeline: 'DiffusionPipeline',
    }
  if (form === 've' && noise.kind === 'log' && noise.scale === 1) {
    const scale = Math.exp(-noise.offset)
    const centred = Math.abs(scale - 2) < 1e-9
    if (centred || Math.abs(scale - 1) < 1e-9) {
      const range = { sigma_min: sigmaMin / scale, sigma_max: sigmaMax / scale }
      const scheduler = { _class_name: 'ScoreSdeVeScheduler', num_train_timesteps: 2000, snr: 0.15, ...range }
      return { scheduler, centred, pipeline: 'ScoreSdeVePipeline' }
    }
  }
  if (form === 'v' && sigmaData === 1 && isLog(noise, 0.25, 0))
    return {
      scheduler: {
        ...{ _class_name: 'EulerDiscreteScheduler', timestep_type: 'continuous', prediction_type: 'v_prediction' },
        ...{ sigma_min: sigmaMin, sigma_max: sigmaMax, num_train_timesteps: 1000, beta_schedule: 'scaled_linear' },
        ...{ beta_start: 0.00085, beta_end: 0.012 },
      },
      centred: false,
      // DDPMPipeline would not scale the network's input
      pipeline: 'DiffusionPipeline',
    }
  const prediction = { epsilon: 'epsilon', v: 'v_prediction', sample: 'sample', edm: null, ve: null }[form]
  if (prediction !== null && noise.kind === 'table' && noise.times.every((t, i) => t === i))
    return {
      scheduler: {
        ...{ _class_name: 'DDPMScheduler', num_train_timesteps: noise.sigmas.length, prediction_type: prediction },
        ...{ beta_schedule: 'linear', trained_betas: betasOf(noise.sigmas), variance_type: 'fixed_small' },
        clip_sample: false,
      },
      centred: false,
      pipeline: 'DDPMPipeline',
    }
  throw new ArgumentError(`no scheduler of diffusers goes with this model's preconditioning (${form}, ${noise.kind})`)
}

function isLog(noise: ModelInfo['preconditioning']['noise'], scale: number, offset: number): boolean {
  return noise.kind === 'log' && noise.scale === scale && noise.offset === offset
}

/** beta_t = 1 - abar_t / abar_(t-1), abar = 1 / (1 + sigma^2): without the cancellation, (sigma_t^2 - sigma_(t-1)^2) / (1 + sigma_t^2). */
function betasOf(sigmas: readonly number[]): number[] {
  return sigmas.map((s, t) => {
    const before = t === 0 ? 0 : sigmas[t - 1]
    return ((s - before) * (s + before)) / (1 + s * s)
  })
}
