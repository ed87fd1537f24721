import { describe, expect, it } from 'vitest'
import { diffusersSchedule } from '../lib/models/diffusers-schedule.js'
import { edmSchedule, iddpmLevels } from '../lib/models/edm-schedule.js'
import { betaSchedules, type NoiseSchedule, sigmasOfBetas, zeroTerminalSnr } from '../lib/models/noise-schedule.js'
import { type NoiseConditioning, noiseInput, noiseLevel, vpSigma } from '../lib/networks/noise-conditioning.js'
import {
  edmPreconditioning,
  type Preconditioning,
  type PreconditioningForm,
  parsePreconditioning,
  preconditioningAt,
} from '../lib/networks/preconditioning.js'

const fail = (what: string): never => {
  throw new Error(what)
}
const relative = (a: number, b: number) => Math.abs(a - b) / Math.abs(b)
const diffusers = (config: object, unet: object = {}) =>
  diffusersSchedule(config, unet as Record<string, unknown>, fail)
const ddpm = (config: object = {}) => diffusers({ _class_name: 'DDPMScheduler', ...config })
const edm = (name: string, args: object = {}) => edmSchedule(name, args as Record<string, unknown>, fail)
const table = ({ preconditioning: { noise } }: NoiseSchedule) => {
  if (noise.kind !== 'table') throw new Error(noise.kind)
  return noise
}

/** Numbers of 60 decimal places. */
const ONE = 10n ** 60n
const fixed = (value: number) => BigInt(Math.round(value * 1e15)) * 10n ** 45n // exact for the decimals below
const times = (a: bigint, b: bigint) => (a * b) / ONE
const root = (a: bigint) => {
  let x = BigInt(Math.round(Math.sqrt(Number(a) / 1e60) * 1e15)) * 10n ** 45n
  for (let i = 0; i < 6; i++) x = (x + (a * ONE) / x) / 2n
  return x
}
/** sigma of every level, by the product of 1 - beta. */
function exactSigmas(betas: bigint[]): number[] {
  let bar = ONE
  return betas.map((beta) => {
    bar = times(bar, ONE - beta)
    return Math.sqrt(Number(((ONE - bar) * ONE) / bar) / 1e60)
  })
}
const spacedExactly = (start: bigint, end: bigint, count: number) =>
  Array.from({ length: count }, (_, i) => start + ((end - start) * BigInt(i)) / BigInt(count - 1))

describe('levels of a variance-preserving chain', () => {
  it('linear betas', () => {
    const exact = exactSigmas(spacedExactly(fixed(0.0001), fixed(0.02), 1000))
    const { sigmas, times: t } = table(ddpm())
    expect(sigmas).toHaveLength(1000)
    for (const [i, sigma] of sigmas.entries()) expect(relative(sigma, exact[i]), `level ${i}`).toBeLessThan(1e-12)
    expect(t).toEqual(exact.map((_, i) => i))
    expect(ddpm()).toMatchObject({ sigmaMin: sigmas[0], sigmaMax: sigmas[999], learnedVariance: false })
    expect(sigmas[999]).toBeCloseTo(157.41, 2)
  })

  it('scaled linear betas', () => {
    const exact = exactSigmas(spacedExactly(root(fixed(0.00085)), root(fixed(0.012)), 1000).map((r) => times(r, r)))
    const config = { beta_schedule: 'scaled_linear', beta_start: 0.00085, beta_end: 0.012 }
    for (const [i, sigma] of table(ddpm(config)).sigmas.entries()) expect(relative(sigma, exact[i])).toBeLessThan(1e-12)
    expect(exact[999]).toBeCloseTo(14.6146, 4) // of Stable Diffusion
  })

  it('cosine, cut at 0.999', () => {
    const { sigmas } = table(ddpm({ beta_schedule: 'squaredcos_cap_v2' }))
    const bar = (t: number) => Math.cos((((t / 1000 + 0.008) / 1.008) * Math.PI) / 2) ** 2
    // abar_t = bar(t + 1) / bar(0) but for the last level, which keeps a thousandth of the one before
    for (let t = 0; t < 999; t++) expect(relative(sigmas[t] ** 2 + 1, bar(0) / bar(t + 1))).toBeLessThan(1e-9)
    expect(relative(sigmas[999] ** 2 + 1, (sigmas[998] ** 2 + 1) * 1000)).toBeLessThan(1e-9)
    const betas = betaSchedules.squaredcos_cap_v2(0, 0, 1000)
    expect(betas[999]).toBe(0.999)
    expect(betas[998]).toBeCloseTo(1 - bar(999) / bar(998), 12)
    expect(betas[998]).toBeLessThan(0.999)
  })

  it('sigmoid and trained betas', () => {
    const { sigmas } = table(ddpm({ beta_schedule: 'sigmoid', num_train_timesteps: 3 }))
    const betas = [-6, 0, 6].map((x) => 0.0001 + 0.0199 / (1 + Math.exp(-x)))
    expect(sigmas).toEqual(table(ddpm({ trained_betas: betas })).sigmas)
    expect(sigmas[0]).toBeCloseTo(Math.sqrt(betas[0] / (1 - betas[0])), 12)
    // a last beta of 1 is pure noise
    expect(table(ddpm({ trained_betas: [0.5, 0.5, 1] }))).toMatchObject({ times: [0, 1] })
    expect(table(ddpm({ trained_betas: [0.5, 0.5] })).sigmas[1]).toBeCloseTo(Math.sqrt(3), 12)
  })

  it('zero terminal SNR: the last level is left out, the first kept, the others shifted', () => {
    const config = { beta_schedule: 'scaled_linear', beta_start: 0.00085, beta_end: 0.012 }
    const plain = table(ddpm(config)).sigmas
    const { sigmas, times: t } = table(ddpm({ ...config, rescale_betas_zero_snr: true }))
    expect(sigmas).toHaveLength(999)
    expect(t.at(-1)).toBe(998)
    expect(relative(sigmas[0], plain[0])).toBeLessThan(1e-12)
    const roots = plain.map((s) => 1 / Math.sqrt(1 + s * s))
    const [first, last] = [roots[0], roots[999]]
    sigmas.forEach((sigma, i) => {
      const bar = (((roots[i] - last) * first) / (first - last)) ** 2
      expect(relative(sigma ** 2, (1 - bar) / bar)).toBeLessThan(1e-9)
    })
    expect(zeroTerminalSnr(plain)[999]).toBe(Infinity)
  })

  it('increase', () => {
    const configs = Object.keys(betaSchedules).flatMap((beta_schedule) =>
      [true, false].map((rescale_betas_zero_snr) => ({ beta_schedule, rescale_betas_zero_snr })),
    )
    for (const config of configs) {
      const { sigmas } = table(ddpm(config))
      for (const [i, s] of sigmas.entries()) expect(s, JSON.stringify(config)).toBeGreaterThan(i ? sigmas[i - 1] : 0)
    }
    expect(sigmasOfBetas([0.5])).toEqual([1])
  })
})

describe('the number a network is told', () => {
  const kinds: NoiseConditioning[] = [
    { kind: 'log', scale: 0.25, offset: 0 },
    { kind: 'log', scale: 1, offset: Math.log(0.5) },
    { kind: 'vp', betaD: 19.9, betaMin: 0.1, epsilonT: 1e-5, M: 1000 },
    table(ddpm()),
    { kind: 'table', sigmas: [0.1, 1, 5], times: [9, 4, 2], rounding: 'linear' },
  ]

  it.each(kinds)('$kind: there and back, and monotone', (noise) => {
    const [from, to] = noise.kind === 'table' ? [noise.sigmas[0], noise.sigmas.at(-1)!] : [1e-3, 150]
    let before: number | undefined
    const sign = noise.kind === 'table' && noise.times[0] > noise.times[1] ? -1 : 1
    for (let i = 0; i <= 500; i++) {
      const sigma = Math.min(to, from * (to / from) ** (i / 500))
      const cNoise = noiseInput(noise, sigma)
      expect(relative(noiseLevel(noise, cNoise), sigma)).toBeLessThan(1e-9)
      if (before !== undefined) expect(sign * (cNoise - before)).toBeGreaterThan(0)
      before = cNoise
    }
  })

  it('is a level’s own time at the level, and the ends beyond them', () => {
    for (const rounding of ['linear', 'nearest'] as const) {
      const noise = { ...table(ddpm()), rounding }
      for (const [t, sigma] of noise.sigmas.entries()) expect(noiseInput(noise, sigma)).toBe(t)
      expect(noiseInput(noise, 1e-9)).toBe(0)
      expect(noiseInput(noise, 1e9)).toBe(999)
      expect(noiseLevel(noise, -1)).toBe(noise.sigmas[0])
      expect(noiseLevel(noise, 2000)).toBe(noise.sigmas[999])
    }
  })

  it('between levels, is linear in ln sigma or the nearest', () => {
    const noise = { kind: 'table', sigmas: [1, 4, 5], times: [0, 1, 2], rounding: 'linear' } as const
    const at = (sigma: number, rounding: 'linear' | 'nearest') =>
      noiseInput({ ...noise, sigmas: [...noise.sigmas], times: [...noise.times], rounding }, sigma)
    expect(at(2, 'linear')).toBeCloseTo(0.5, 12)
    expect(at(2, 'nearest')).toBe(0)
    expect(at(2.6, 'nearest')).toBe(1)
    expect(at(4.4, 'nearest')).toBe(1)
  })

  it('of a table with one level is its time', () => {
    const noise: NoiseConditioning = { kind: 'table', sigmas: [2], times: [7], rounding: 'linear' }
    for (const sigma of [1, 2, 3]) expect(noiseInput(noise, sigma)).toBe(7)
    expect(noiseLevel(noise, 5)).toBe(2)
  })
})

describe('preconditioners of EDM', () => {
  it('EDM', () => {
    const schedule = edm('EDMPrecond', { img_resolution: 32, sigma_max: Infinity, sigma_min: 0 })
    expect(schedule).toEqual({
      preconditioning: edmPreconditioning(),
      sigmaMin: 0.002,
      sigmaMax: 80,
      learnedVariance: false,
    })
    expect(edm('EDMPrecond', { sigma_data: 1, sigma_min: 0.01, sigma_max: 50 })).toMatchObject({
      preconditioning: { sigmaData: 1 },
      sigmaMin: 0.01,
      sigmaMax: 50,
    })
    const { cSkip, cOut, cIn, cNoise } = preconditioningAt(schedule.preconditioning, 1.2)
    expect([cSkip, cOut, cIn, cNoise]).toEqual([0.25 / 1.69, 0.6 / 1.3, 1 / 1.3, Math.log(1.2) / 4].map(near))
  })

  it('VP: sigma(t) and its inverse', () => {
    const schedule = edm('VPPrecond')
    const { noise } = schedule.preconditioning
    for (const t of [1e-5, 1e-3, 0.1, 0.5, 1]) {
      const sigma = vpSigma({ betaD: 19.9, betaMin: 0.1 }, t)
      // by the integral of beta, and the formula of the paper for the inverse
      expect(relative(Math.log1p(sigma ** 2), 9.95 * t ** 2 + 0.1 * t)).toBeLessThan(1e-9)
      const inverse = (Math.sqrt(0.01 + 39.8 * Math.log1p(sigma ** 2)) - 0.1) / 19.9
      expect(noiseInput(noise, sigma)).toBeCloseTo(999 * t, 9)
      expect(noiseInput(noise, sigma)).toBeCloseTo(999 * inverse, 6)
    }
    expect(schedule.sigmaMin).toBeCloseTo(Math.sqrt(Math.expm1(1e-6 + 9.95e-10)), 12)
    expect(schedule.sigmaMax).toBeCloseTo(Math.sqrt(Math.expm1(10.05)), 9)
    expect(preconditioningAt(schedule.preconditioning, 3)).toMatchObject({ cSkip: 1, cOut: -3, cIn: near(0.1 ** 0.5) })
  })

  it('VE', () => {
    const schedule = edm('VEPrecond')
    expect(schedule).toMatchObject({ sigmaMin: 0.02, sigmaMax: 100, learnedVariance: false })
    expect(preconditioningAt(schedule.preconditioning, 3)).toEqual({
      cSkip: 1,
      cOut: 3,
      cIn: 1,
      cNoise: near(Math.log(1.5)),
    })
  })

  it('iDDPM: its levels in closed form, and the nearest one', () => {
    const M = 1000
    const bar = (j: number) => Math.sin((Math.PI * j) / (2 * M * 1.008)) ** 2
    const u = iddpmLevels(0.001, 0.008, M)
    expect(u).toHaveLength(M + 1)
    expect(u[M]).toBe(0)
    // (u^2 + 1) abar is the same at all levels, as long as no ratio is clipped: only the last one is
    for (let j = 1; j < M; j++) expect(relative(u[j] ** 2 + 1, bar(M) / bar(j))).toBeLessThan(1e-9)
    expect(relative(u[0] ** 2 + 1, (u[1] ** 2 + 1) / 0.001)).toBeLessThan(1e-12)
    for (let j = 1; j <= M; j++) expect(u[j]).toBeLessThan(u[j - 1])
    expect(u[8]).toBeCloseTo(80.2, 1) // where Karras et al. begin

    const schedule = edm('iDDPMPrecond')
    expect(schedule).toMatchObject({ sigmaMin: u[M - 1], sigmaMax: u[0], learnedVariance: true })
    const { noise } = schedule.preconditioning
    for (const j of [0, 1, 8, 500, M - 1]) expect(noiseInput(noise, u[j])).toBe(M - 1 - j)
    expect(noiseInput(noise, 0.51 * u[500] + 0.49 * u[501])).toBe(M - 1 - 500)
    expect(noiseInput(noise, 0.49 * u[500] + 0.51 * u[501])).toBe(M - 1 - 501)
  })

  it('refuses others, and wrong arguments', () => {
    expect(() => edm('CTPrecond')).toThrow(/CTPrecond.*EDMPrecond/)
    expect(() => edm('toString')).toThrow(/not supported/)
    expect(() => edm('EDMPrecond', { sigma_data: '1' })).toThrow(/sigma_data/)
    expect(() => edm('VEPrecond', { sigma_min: 200 })).toThrow(/from 200 to 100/)
    expect(() => edm('iDDPMPrecond', { M: 1.5 })).toThrow(/for M/)
  })
})

const near = (value: number) => expect.closeTo(value, 12)

describe('schedulers of diffusers', () => {
  it('predict the noise, v or the image', () => {
    const form = (config: object) => ddpm(config).preconditioning.form
    expect(form({})).toBe('epsilon')
    expect(form({ prediction_type: 'v_prediction' })).toBe('v')
    expect(form({ prediction_type: 'sample' })).toBe('sample')
    expect(form({ predict_epsilon: false })).toBe('sample')
    expect(form({ predict_epsilon: false, prediction_type: 'epsilon' })).toBe('epsilon')
  })

  it('have the defaults of their classes, and options that only a sampler has', () => {
    const range = (name: string) => diffusers({ _class_name: name }).sigmaMax
    expect(range('DDIMScheduler')).toBeCloseTo(157.41, 2)
    expect(range('PNDMScheduler')).toBe(range('DDIMScheduler'))
    expect(range('HeunDiscreteScheduler')).toBeLessThan(range('EulerDiscreteScheduler'))
    const google = {
      ...{ _class_name: 'DDPMScheduler', _diffusers_version: '0.1.1', beta_end: 0.02, beta_schedule: 'linear' },
      ...{ beta_start: 0.0001, clip_sample: true, num_train_timesteps: 1000, trained_betas: null },
    }
    expect(diffusers({ ...google, variance_type: 'fixed_large' })).toEqual(ddpm())
    expect(diffusers({ ...google, variance_type: 'learned_range' })).toEqual({ ...ddpm(), learnedVariance: true })
    expect(ddpm({ timestep_spacing: 'leading', steps_offset: 1, thresholding: true, new_one: null })).toEqual(ddpm())
    const unet = { time_embedding_type: 'learned' }
    expect(table(diffusers(google, unet)).rounding).toBe('nearest')
  })

  it('with continuous times', () => {
    const svd = { _class_name: 'EulerDiscreteScheduler', timestep_type: 'continuous', sigma_min: 0.002, sigma_max: 700 }
    expect(diffusers({ ...svd, prediction_type: 'v_prediction' })).toEqual({
      preconditioning: { form: 'v', sigmaData: 1, noise: { kind: 'log', scale: 0.25, offset: 0 } },
      sigmaMin: 0.002,
      sigmaMax: 700,
      learnedVariance: false,
    })
    expect(table(diffusers(svd)).sigmas).toHaveLength(1000)
    const karras = { _class_name: 'EDMEulerScheduler' }
    expect(diffusers(karras)).toMatchObject({ preconditioning: edmPreconditioning(), sigmaMin: 0.002, sigmaMax: 80 })
    const v = { ...karras, prediction_type: 'v_prediction', sigma_data: 1 }
    expect(diffusers(v).preconditioning).toMatchObject({ form: 'v', sigmaData: 1 })
  })

  it('variance exploding, for images in [-1, 1]', () => {
    const config = { _class_name: 'ScoreSdeVeScheduler', snr: 0.15, num_train_timesteps: 2000 }
    const unet = { time_embedding_type: 'fourier', center_input_sample: true }
    const centred = diffusers(config, unet)
    expect(centred).toMatchObject({ sigmaMin: 0.02, sigmaMax: 2696 })
    // a score network on [0, 1] of N(m, s^2): its input is 2 y - 1, its output sigma times the score, told ln(sigma)
    const [m, s] = [0.3, 0.2]
    const network = (input: number, cNoise: number) => {
      const sigma = Math.exp(cNoise)
      return (sigma * (m - (input + 1) / 2)) / (s * s + sigma * sigma)
    }
    const [x, sigma] = [0.7, 0.9]
    const { cSkip, cOut, cIn, cNoise } = preconditioningAt(centred.preconditioning, sigma)
    // of N(2 m - 1, (2 s)^2)
    const exact = 2 * m - 1 + ((x - (2 * m - 1)) * 4 * s * s) / (4 * s * s + sigma * sigma)
    expect(cSkip * x + cOut * network(cIn * x, cNoise)).toBeCloseTo(exact, 12)
    expect(diffusers(config, { time_embedding_type: 'fourier' })).toMatchObject({
      preconditioning: { form: 've', noise: { offset: near(0) } },
      sigmaMin: 0.01,
    })
  })

  it('say what is not supported', () => {
    const wrong: [object, RegExp, object?][] = [
      [{ _class_name: 'FlowMatchEulerDiscreteScheduler' }, /FlowMatchEulerDiscreteScheduler.*DDPM/],
      [{}, /_class_name/],
      [{ _class_name: 'DDPMScheduler', beta_schedule: 'laplace' }, /beta_schedule "laplace".*linear/],
      [{ _class_name: 'DDPMScheduler', prediction_type: 'flow_prediction' }, /flow_prediction/],
      [{ _class_name: 'UniPCMultistepScheduler', use_flow_sigmas: true }, /use_flow_sigmas/],
      [{ _class_name: 'DDIMScheduler', snr_shift_scale: 3 }, /snr_shift_scale/],
      [{ _class_name: 'DDPMScheduler', beta_end: 2 }, /beta_end 2/],
      [{ _class_name: 'DDPMScheduler', beta_start: '1' }, /beta_start/],
      [{ _class_name: 'DDPMScheduler', trained_betas: [0.1, 0] }, /trained_betas/],
      [{ _class_name: 'DDPMScheduler', trained_betas: [1] }, /pure noise/],
      [{ _class_name: 'DDPMScheduler', num_train_timesteps: 1, rescale_betas_zero_snr: true }, /several/],
      [{ _class_name: 'DDPMScheduler', rescale_betas_zero_snr: 1 }, /true or false/],
      [{ _class_name: 'EDMEulerScheduler', prediction_type: 'v_prediction' }, /sigma_data 1/],
      [{ _class_name: 'ScoreSdeVeScheduler' }, /fourier/],
      [{ _class_name: 'DDPMScheduler' }, /center_input_sample/, { center_input_sample: true }],
      [{ _class_name: 'DDPMScheduler' }, /fourier/, { time_embedding_type: 'fourier' }],
    ]
    for (const [config, message, unet] of wrong) expect(() => diffusers(config, unet), `${message}`).toThrow(message)
    for (const config of [null, [], 'x']) expect(() => diffusers(config as never)).toThrow(/object/)
  })
})

describe('a network that is exact for Gaussian data', () => {
  // x0 ~ N(0, s0^2), y = alpha x0 + sigma_vp n: the conditional means of n, v and x0 given y
  const s0 = 0.7
  const raw: Record<Exclude<PreconditioningForm, 'edm' | 've'>, (y: number, bar: number) => number> = {
    epsilon: (y, bar) => (Math.sqrt(1 - bar) * y) / (bar * s0 * s0 + 1 - bar),
    sample: (y, bar) => (Math.sqrt(bar) * s0 * s0 * y) / (bar * s0 * s0 + 1 - bar),
    v: (y, bar) => Math.sqrt(bar) * raw.epsilon(y, bar) - Math.sqrt(1 - bar) * raw.sample(y, bar),
  }
  const exact = (x: number, sigma: number) => (s0 * s0 * x) / (s0 * s0 + sigma * sigma)

  it.each(['epsilon', 'v', 'sample'] as const)('%s of a discrete chain', (form) => {
    const prediction_type = form === 'v' ? 'v_prediction' : form
    for (const beta_schedule of Object.keys(betaSchedules)) {
      const { preconditioning } = ddpm({ beta_schedule, prediction_type })
      const { sigmas } = table(ddpm({ beta_schedule }))
      // abar by the product of the betas, which is what the network is told by t
      const bars: number[] = []
      for (const beta of betaSchedules[beta_schedule as 'linear'](0.0001, 0.02, 1000))
        bars.push((bars.at(-1) ?? 1) * (1 - beta))
      for (let t = 0; t < 1000; t += 37) {
        const [x, sigma] = [1.3 * sigmas[t], sigmas[t]]
        const { cSkip, cOut, cIn, cNoise } = preconditioningAt(preconditioning, sigma)
        expect(cNoise).toBe(t)
        const denoised = cSkip * x + cOut * raw[form](cIn * x, bars[cNoise])
        // epsilon: a difference of numbers as large as sigma
        const scale = form === 'epsilon' ? Math.max(1, sigma) : 1
        expect(Math.abs(denoised - exact(x, sigma)) / scale, `t = ${t}`).toBeLessThan(1e-9)
      }
    }
  })

  it('edm, and v as edm of unit data with the sign turned', () => {
    for (const sigma of [0.002, 0.3, 1, 20]) {
      const [edmOnes, v] = ([edmPreconditioning(1), { ...edmPreconditioning(1), form: 'v' }] as Preconditioning[]).map(
        (p) => preconditioningAt(p, sigma),
      )
      expect(v).toEqual({ ...edmOnes, cSkip: near(edmOnes.cSkip), cOut: near(-edmOnes.cOut), cIn: near(edmOnes.cIn) })
      // of data of sigma_data, the right output is 0
      expect(preconditioningAt(edmPreconditioning(s0), sigma).cSkip).toBeCloseTo(exact(1, sigma), 12)
    }
  })
})

describe('parsePreconditioning', () => {
  it('gives back what JSON keeps', () => {
    const all = [edm('EDMPrecond'), edm('VPPrecond'), edm('VEPrecond'), edm('iDDPMPrecond'), ddpm()]
    for (const { preconditioning } of all)
      expect(parsePreconditioning(JSON.parse(JSON.stringify(preconditioning)), fail)).toEqual(preconditioning)
    expect(parsePreconditioning({ form: 'v', noise: { kind: 'log', scale: 1, offset: 0 } }, fail).sigmaData).toBe(1)
  })

  it('refuses what it must', () => {
    const log = { kind: 'log', scale: 1, offset: 0 }
    const levels = { kind: 'table', sigmas: [1, 2], times: [0, 1], rounding: 'linear' }
    const vp = { kind: 'vp', betaD: 19.9, betaMin: 0.1, epsilonT: 1e-5, M: 1000 }
    const wrong: [unknown, RegExp][] = [
      [null, /object/],
      [[], /object/],
      [{ form: 'score', noise: log }, /form/],
      [{ form: 'edm', noise: log }, /sigmaData/],
      [{ form: 'edm', sigmaData: -1, noise: log }, /sigmaData/],
      [{ form: 'v', sigmaData: 0.5, noise: log }, /sigmaData is 1/],
      [{ form: 'v', noise: log, extra: 1 }, /'extra'/],
      [{ form: 'v' }, /noise/],
      [{ form: 'v', noise: { kind: 'cosine' } }, /kind/],
      [{ form: 'v', noise: { ...log, scale: 0 } }, /scale/],
      [{ form: 'v', noise: { ...log, offset: null } }, /offset/],
      [{ form: 'v', noise: { ...log, M: 2 } }, /'M'/],
      [{ form: 'v', noise: { ...levels, sigmas: [2, 1] } }, /sigmas/],
      [{ form: 'v', noise: { ...levels, sigmas: [0, 1] } }, /sigmas/],
      [{ form: 'v', noise: { ...levels, sigmas: [], times: [] } }, /sigmas/],
      [{ form: 'v', noise: { ...levels, times: [1] } }, /times/],
      [{ form: 'v', noise: { ...levels, times: [1, 1] } }, /times/],
      [{ form: 'v', noise: { ...levels, rounding: 'up' } }, /rounding/],
      [{ form: 'v', noise: { ...vp, betaD: 0 } }, /betaD/],
      [{ form: 'v', noise: { ...vp, epsilonT: 1 } }, /epsilonT/],
      [{ form: 'v', noise: { ...vp, M: 1 } }, /for M/],
    ]
    for (const [json, message] of wrong)
      expect(() => parsePreconditioning(json, fail), JSON.stringify(json)).toThrow(message)
  })
})
