import { describe } from '../base/errors.js'
import { edmPreconditioning, type PreconditioningForm, parsePreconditioning } from '../networks/preconditioning.js'
import { betaSchedules, levelTable, type NoiseSchedule, sigmasOfBetas, zeroTerminalSnr } from './noise-schedule.js'

/** The noise of a diffusers model, out of its scheduler_config.json. */

type Fail = (what: string) => never
type Json = Readonly<Record<string, unknown>>

/** Schedulers of a discrete variance-preserving chain, with the default range of beta that the class has. */
const chains: Readonly<Record<string, readonly [start: number, end: number]>> = {
  DDPMScheduler: [0.0001, 0.02],
  DDPMParallelScheduler: [0.0001, 0.02],
  DDIMScheduler: [0.0001, 0.02],
  DDIMParallelScheduler: [0.0001, 0.02],
  PNDMScheduler: [0.0001, 0.02],
  DPMSolverMultistepScheduler: [0.0001, 0.02],
  DPMSolverSinglestepScheduler: [0.0001, 0.02],
  DPMSolverSDEScheduler: [0.00085, 0.012],
  DEISMultistepScheduler: [0.0001, 0.02],
  UniPCMultistepScheduler: [0.0001, 0.02],
  SASolverScheduler: [0.0001, 0.02],
  EulerDiscreteScheduler: [0.0001, 0.02],
  EulerAncestralDiscreteScheduler: [0.0001, 0.02],
  HeunDiscreteScheduler: [0.00085, 0.012],
  KDPM2DiscreteScheduler: [0.00085, 0.012],
  KDPM2AncestralDiscreteScheduler: [0.00085, 0.012],
  LMSDiscreteScheduler: [0.0001, 0.02],
}
const edmClasses = ['EDMEulerScheduler', 'EDMDPMSolverMultistepScheduler']
const VE_CLASS = 'ScoreSdeVeScheduler'

/** What the model was trained with. */
const modelOptions = [
  ...['num_train_timesteps', 'beta_start', 'beta_end', 'beta_schedule', 'trained_betas', 'prediction_type'],
  ...['predict_epsilon', 'rescale_betas_zero_snr', 'variance_type', 'timestep_type', 'use_flow_sigmas'],
  ...['sigma_min', 'sigma_max', 'sigma_data'],
]
/** How diffusers' own sampler goes through the levels; nothing that a denoiser depends on. */
const samplerOptions = [
  ...['clip_sample', 'clip_sample_range', 'thresholding', 'dynamic_thresholding_ratio', 'sample_max_value'],
  ...['timestep_spacing', 'steps_offset', 'set_alpha_to_one', 'skip_prk_steps', 'final_sigmas_type', 'euler_at_final'],
  ...['use_karras_sigmas', 'use_exponential_sigmas', 'use_beta_sigmas', 'use_lu_lambdas', 'interpolation_type'],
  ...['solver_order', 'solver_type', 'solver_p', 'lower_order_final', 'algorithm_type', 'lambda_min_clipped'],
  ...['predictor_order', 'corrector_order', 'predict_x0', 'disable_corrector', 'tau_func', 'noise_sampler_seed'],
  ...['flow_shift', 'sigma_schedule', 'rho', 'snr', 'sampling_eps', 'correct_steps', 'tensor_format'],
  ...['time_shift_type'],
]

const forms: Readonly<Record<string, PreconditioningForm>> = {
  epsilon: 'epsilon',
  v_prediction: 'v',
  sample: 'sample',
}

/**
 * The noise of a diffusers checkpoint.
 * @param config scheduler_config.json
 * @param unet the network's config.json (of UNet2DModel), whose time embedding and input scaling decide too
 * @param fail throws with what was wrong or is not supported, by its name in the file
 */
export function diffusersSchedule(config: unknown, unet: Json, fail: Fail): NoiseSchedule {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) return fail('expected an object')
  const read = new Reader(config as Json, fail)
  const name = read.text('_class_name')
  if (!Object.hasOwn(chains, name) && !edmClasses.includes(name) && name !== VE_CLASS)
    return fail(
      `${name} is not supported: one of ${[...Object.keys(chains), ...edmClasses, VE_CLASS].map(short).join(', ')}`,
    )
  read.onlyKnown(name)
  if (name === VE_CLASS) return varianceExploding(read, unet, fail)
  if (unet.center_input_sample === true) fail(`center_input_sample of the network goes with ${VE_CLASS} only`)
  if (unet.time_embedding_type === 'fourier') fail(`time_embedding_type 'fourier' goes with ${VE_CLASS} only`)
  if (edmClasses.includes(name)) return edm(read, fail)
  return chain(read, chains[name], unet.time_embedding_type === 'learned' ? 'nearest' : 'linear', fail)
}

const short = (name: string) => name.replace(/Scheduler$/, '')

function chain(
  read: Reader,
  [start, end]: readonly [number, number],
  rounding: 'linear' | 'nearest',
  fail: Fail,
): NoiseSchedule {
  const betas = read.betas(start, end)
  const plain = sigmasOfBetas(betas)
  if (read.flag('rescale_betas_zero_snr') && plain.length < 2) fail('rescale_betas_zero_snr needs several timesteps')
  const levels = read.flag('rescale_betas_zero_snr') ? zeroTerminalSnr(plain) : plain
  const noise = levelTable(levels, rounding)
  const { sigmas } = noise
  if (sigmas.length === 0) fail('every level of the schedule is pure noise')
  const form = read.form()
  const learnedVariance = ['learned', 'learned_range'].includes(read.config.variance_type as string)
  const known = { sigmaMin: sigmas[0], sigmaMax: sigmas[sigmas.length - 1], learnedVariance }
  // diffusers takes 'continuous' for 'discrete' unless v is predicted
  if (read.text('timestep_type', 'discrete') !== 'continuous' || form !== 'v')
    return { preconditioning: parsePreconditioning({ form, noise }, fail), ...known }
  return {
    preconditioning: { form, sigmaData: 1, noise: { kind: 'log', scale: 0.25, offset: 0 } },
    ...known,
    ...read.range(known.sigmaMin, known.sigmaMax),
  }
}

function edm(read: Reader, fail: Fail): NoiseSchedule {
  const preconditioning = edmPreconditioning(read.number('sigma_data', 0.5))
  const form = read.form()
  if (form === 'v') {
    if (preconditioning.sigmaData !== 1) fail("prediction_type 'v_prediction' is supported for sigma_data 1 only")
    preconditioning.form = 'v'
  } else if (form !== 'epsilon') fail(`prediction_type '${read.config.prediction_type}' is not supported here`)
  return { preconditioning, ...read.range(0.002, 80), learnedVariance: false }
}

/**
 * Networks of Song et al. 2021: h = sigma times the score, told ln(sigma). One that centres its input, 2 x - 1, was trained on images in
 * [0, 1]; for images in [-1, 1], as here, its noise levels are twice as large, and it is told ln(sigma / 2).
 */
function varianceExploding(read: Reader, unet: Json, fail: Fail): NoiseSchedule {
  if (unet.time_embedding_type !== 'fourier')
    fail(`${VE_CLASS} goes with the network's time_embedding_type 'fourier' only`)
  const scale = unet.center_input_sample === true ? 2 : 1
  const { sigmaMin, sigmaMax } = read.range(0.01, 1348)
  return {
    preconditioning: { form: 've', sigmaData: 1, noise: { kind: 'log', scale: 1, offset: -Math.log(scale) } },
    sigmaMin: scale * sigmaMin,
    sigmaMax: scale * sigmaMax,
    learnedVariance: false,
  }
}

/** Reads a scheduler's options, whose types the file does not guarantee. */
class Reader {
  constructor(
    readonly config: Json,
    readonly fail: Fail,
  ) {}

  /** Refuses options whose meaning is not known here, unless they are off. */
  onlyKnown(name: string): void {
    const known = [...modelOptions, ...samplerOptions]
    for (const [key, value] of Object.entries(this.config))
      if (!key.startsWith('_') && !known.includes(key) && value !== null && value !== false)
        this.fail(`${key} of ${name} is not supported`)
    if (this.flag('use_flow_sigmas')) this.fail('use_flow_sigmas is not supported: flow matching is another noise')
  }

  text(key: string, byDefault?: string): string {
    const value = this.config[key] ?? byDefault
    return typeof value === 'string' ? value : this.fail(`expected a text for ${key} but received ${describe(value)}`)
  }

  flag(key: string): boolean {
    const value = this.config[key] ?? false
    return typeof value === 'boolean'
      ? value
      : this.fail(`expected true or false for ${key} but received ${describe(value)}`)
  }

  /** A positive number. */
  number(key: string, byDefault: number): number {
    const value = this.config[key] ?? byDefault
    return typeof value === 'number' && Number.isFinite(value) && value > 0
      ? value
      : this.fail(`expected a positive number for ${key} but received ${describe(value)}`)
  }

  range(min: number, max: number): { sigmaMin: number; sigmaMax: number } {
    const [sigmaMin, sigmaMax] = [this.number('sigma_min', min), this.number('sigma_max', max)]
    return sigmaMin < sigmaMax ? { sigmaMin, sigmaMax } : this.fail('sigma_min is not below sigma_max')
  }

  form(): PreconditioningForm {
    const legacy = this.config.predict_epsilon === false ? 'sample' : 'epsilon' // before diffusers 0.13
    const name = this.text('prediction_type', legacy)
    return Object.hasOwn(forms, name)
      ? forms[name]
      : this.fail(`prediction_type '${name}' is not supported: one of ${Object.keys(forms).join(', ')}`)
  }

  betas(start: number, end: number): number[] {
    const { trained_betas: trained, beta_schedule: schedule = 'linear' } = this.config
    const right = (beta: unknown) => typeof beta === 'number' && beta > 0 && beta <= 1
    if (trained !== null && trained !== undefined) {
      if (!Array.isArray(trained) || trained.length === 0 || !trained.every(right))
        return this.fail('trained_betas must be numbers in (0, 1]')
      return trained
    }
    if (typeof schedule !== 'string' || !Object.hasOwn(betaSchedules, schedule))
      return this.fail(
        `beta_schedule ${describe(schedule)} is not supported: one of ${Object.keys(betaSchedules).join(', ')}`,
      )
    const count = this.number('num_train_timesteps', 1000)
    if (!Number.isSafeInteger(count) || count > 1e6)
      return this.fail(`expected a whole number for num_train_timesteps but received ${describe(count)}`)
    const [from, to] = [this.number('beta_start', start), this.number('beta_end', end)]
    const betas = betaSchedules[schedule as keyof typeof betaSchedules](from, to, count)
    return betas.every(right) ? betas : this.fail(`beta_start ${from} and beta_end ${to} are no variances in (0, 1]`)
  }
}
