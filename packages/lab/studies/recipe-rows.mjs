// The rows of packages/lab/studies/recipe.mjs. Each has all the parts of its recipe, so that it stays what it was when the defaults move.

/** What a row has where it does not say otherwise. */
const base = { decay: 0.5, labelDropout: 0.1, pMean: -1.2, pStd: 1.2, holdOut: 0.1 }
const rows = (data, images, list) =>
  list.map((row) => ({ data, images, warmUp: images / 20, emaHalfLife: images / 20, ...base, ...row }))

/** The defaults of before there was a recipe. */
const before = { name: 'the defaults before', batchSize: 128, lr: 1e-3, decay: 0 }
/** What the rules choose for labelled pictures. */
const noise = { pMean: -0.6, pStd: 1.4 }
const ruled = { ...noise, labelDropout: 0.25 }
/** As the first rows were run: on all pictures. */
const all = { labelDropout: 0.5, holdOut: 0 }

/** The demo's network. */
const small = { width: 24, channelMult: [1, 2, 2], blocks: 1, attention: [3] }

export const groups = {
  // 500 discs of 16x16x3
  discs: rows('discs', 12_000, [
    { ...before, holdOut: 0 },
    // what the rules choose
    { batchSize: 16, lr: 4e-3, ...noise, labelDropout: 0.25 },
    // others' recipes: EDM's half-life and warm-up are cut as its run is; diffusers' are those of its unconditional example
    { name: 'EDM', batchSize: 512, lr: 1e-3, decay: 0, emaHalfLife: 30 },
    { name: 'diffusers, linear for cosine', batchSize: 16, lr: 1e-4, beta1: 0.95, warmUp: 8000, decay: 1 },
    // share of the decay, and rates that go with all of it
    { batchSize: 32, lr: 2e-3, ...all, decay: 0 },
    { batchSize: 32, lr: 2e-3, ...all, decay: 0.2 },
    { batchSize: 32, lr: 2e-3, ...all },
    { batchSize: 32, lr: 2e-3, ...all, decay: 1 },
    { batchSize: 32, lr: 1e-3, ...all, decay: 1 },
    { batchSize: 32, lr: 4e-3, ...all, decay: 1 },
    { batchSize: 32, lr: 8e-3, ...all, decay: 1 },
    // batch and rate
    { batchSize: 32, lr: 2e-3, decay: 0 },
    { batchSize: 32, lr: 4e-3, decay: 0 },
    { batchSize: 32, lr: 4e-3 },
    { batchSize: 16, lr: 2e-3 },
    { batchSize: 16, lr: 4e-3 },
    { batchSize: 16, lr: 8e-3 },
    { batchSize: 16, lr: 4e-3, decay: 0 },
    { batchSize: 16, lr: 4e-3, decay: 1 },
    { batchSize: 8, lr: 2e-3 },
    { batchSize: 8, lr: 4e-3 },
    // label dropout, averaging, beta2
    { batchSize: 16, lr: 4e-3, labelDropout: 0.5 },
    { batchSize: 16, lr: 4e-3, emaHalfLife: 240 },
    { batchSize: 16, lr: 4e-3, beta2: 0.99 },
    // noise levels
    { batchSize: 16, lr: 4e-3, pMean: -0.6 },
    { batchSize: 8, lr: 4e-3, pMean: -0.6 },
    { batchSize: 4, lr: 4e-3, pMean: -0.6 },
    { batchSize: 8, lr: 4e-3, pMean: -0.6, labelDropout: 0.5 },
    { batchSize: 8, lr: 4e-3, pMean: -0.6, pStd: 1.5 },
    { batchSize: 8, lr: 4e-3, pMean: -0.4, pStd: 1 },
    { batchSize: 16, lr: 4e-3, ...noise },
    { batchSize: 32, lr: 4e-3, ...noise },
    { batchSize: 32, lr: 8e-3, ...noise },
    { batchSize: 16, lr: 4e-3, pMean: -0.3, pStd: 1.4 },
    { batchSize: 16, lr: 4e-3, ...noise, labelDropout: 0.5 },
  ]),
  // what the rules choose now, alone and together
  muon: rows('discs', 12_000, [
    { batchSize: 16, lr: 4e-3, ...ruled, network: { labelMaps: true } },
    { batchSize: 16, lr: 4e-3, ...ruled, muon: 0.95 },
    { batchSize: 16, lr: 4e-3, ...ruled, muon: 0.95, network: { labelMaps: true } },
    { batchSize: 32, lr: 4e-3, ...ruled, muon: 0.95, network: { labelMaps: true } },
    { batchSize: 32, lr: 8e-3, ...ruled, muon: 0.95, network: { labelMaps: true } },
  ]),
  // a quarter and three times the images
  small: rows('discs', 3000, [
    { batchSize: 16, lr: 4e-3 },
    { batchSize: 8, lr: 2e-3 },
    { batchSize: 8, lr: 4e-3 },
    { batchSize: 4, lr: 2e-3 },
    { batchSize: 4, lr: 4e-3 },
  ]),
  long: rows('discs', 36_000, [
    { batchSize: 8, lr: 2e-3 },
    { batchSize: 16, lr: 2e-3 },
    { batchSize: 32, lr: 4e-3 },
    { batchSize: 32, lr: 4e-3, ...noise },
  ]),
  // an energy of a teacher that has seen 12,000
  distil: rows('discs', 6000, [
    before,
    { batchSize: 8, lr: 4e-3 },
    { batchSize: 8, lr: 2e-3 },
    { batchSize: 8, lr: 1e-3 },
    { batchSize: 16, lr: 2e-3 },
  ]).map((row) => ({ ...row, head: 'dot', teacher: rows('discs', 12_000, [{ batchSize: 8, lr: 4e-3 }])[0] })),
  // by the noise levels and the label dropout of the rules, of a teacher by the rules; the rules have a rate of 1e-3
  'distil-rules': rows('discs', 6000, [
    { batchSize: 16, lr: 1e-3 },
    { batchSize: 16, lr: 2e-3 },
    { batchSize: 16, lr: 4e-3 },
  ]).map((row) => ({
    ...row,
    ...ruled,
    head: 'dot',
    teacher: rows('discs', 12_000, [{ batchSize: 16, lr: 4e-3, ...ruled }])[0],
  })),
  // 60,000 pictures of 28x28, one label
  fashion: rows('fashion', 6000, [
    before,
    { batchSize: 32, lr: 2e-3, decay: 0 },
    { batchSize: 16, lr: 4e-3 },
    { batchSize: 8, lr: 4e-3 },
    { batchSize: 16, lr: 4e-3, ...noise },
  ]),
  // about three minutes of a thread
  'fashion-longer': rows('fashion', 12_000, [
    before,
    // what the rules choose
    { batchSize: 16, lr: 4e-3, ...noise },
    { name: 'EDM', batchSize: 512, lr: 1e-3, decay: 0, emaHalfLife: 30 },
    { name: 'diffusers, linear for cosine', batchSize: 16, lr: 1e-4, beta1: 0.95, warmUp: 8000, decay: 1 },
  ]),
  // the demo's pictures: 8000 of 12x12, shape and place
  shapes: rows('shapes', 32_000, [
    { name: 'the demo before', batchSize: 64, lr: 2e-3, decay: 0, labelDropout: 0.5 },
    { batchSize: 32, lr: 4e-3, ...noise, labelDropout: 0.5 },
    { batchSize: 32, lr: 4e-3, ...noise, labelDropout: 0.25 },
  ]).map((row) => ({ ...row, network: small })),
  'distil-shapes': rows('shapes', 12_800, [
    { batchSize: 16, lr: 2e-3, ...ruled },
    { batchSize: 16, lr: 1e-3, ...ruled },
    { batchSize: 64, lr: 1e-3, decay: 0, labelDropout: 0.5 },
  ]).map((row) => ({
    ...row,
    head: 'dot',
    teacher: { ...rows('shapes', 32_000, [{ batchSize: 32, lr: 4e-3, ...ruled }])[0], network: small },
  })),
}
