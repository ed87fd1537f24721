import type { Dataset } from '../data/dataset.js'
import { readSamples } from '../data/samples.js'
import { type Figure, pictureOf, writeReport } from '../report/folder.js'
import type { Block } from '../report/html.js'
import { rowsPng } from '../report/rows.js'
import { describeRecipe } from '../training/recipe.js'
import { GUIDANCE } from './draw.js'
import { describeFindings } from './findings.js'
import { models } from './folder.js'
import type { DrawnGroup, FitResult } from './result.js'
import { COMPOSITION, type Layout, rowGroups } from './rows.js'

/** The report of a fit, for somebody who has not read how it was made. */

/** Pictures of the data, to compare the samples with. */
const DATA = 'data'

/** Names of all files that a fit of the data writes, but for fit.json. */
export function reportFiles(data: Dataset, layout: Layout): string[] {
  const pictures = [DATA, ...rowGroups(data, layout, 1, 0).map(({ name }) => name)].map((name) => `${name}.png`)
  return [...Object.values(models).map((name) => `${name}.safetensors`), 'report.html', 'report.md', ...pictures]
}

/** Writes the report and its pictures; the names of the files. Throws FileError. */
export async function writeFitReport(
  folder: string,
  result: FitResult,
  groups: readonly DrawnGroup[],
  data: Dataset,
): Promise<string[]> {
  const figures = [...(await Promise.all(groups.map((group) => figureOf(group, data.shape)))), await dataFigure(groups[0], data)] // biome-ignore format: one line
  return writeReport(folder, {
    title: `feynkac fit: ${result.findings.name}`,
    blocks: blocks(result, figures),
    figures,
  })
}

async function figureOf({ name, caption, rows }: DrawnGroup, shape: readonly number[]): Promise<Figure> {
  const labelled = rows.map(({ label, samples, shown }) => ({
    samples,
    label: label === '' ? '' : `${label}${shown.right === null ? '' : `: ${shown.right} of ${shown.samples}`}`,
  }))
  const right = rightOf(rows.map(({ shown }) => shown))
  const said = `${caption}${right === null ? '' : ` ${right} as asked.`}`
  return { name, caption: said, png: await rowsPng(said, labelled, shape) }
}

/** As many pictures of the data as there are plain samples. */
async function dataFigure({ rows }: DrawnGroup, data: Dataset): Promise<Figure> {
  const columns = rows[0].shown.samples
  const step = Math.max(1, Math.floor(data.size / (rows.length * columns)))
  const indices = Int32Array.from({ length: rows.length * columns }, (_, i) => (i * step) % data.size)
  const { x0 } = await readSamples(data, null, indices)
  const width = x0.length / rows.length
  const caption = 'For comparison: pictures of the data.'
  const list = rows.map((_, i) => ({ label: '', samples: x0.subarray(i * width, (i + 1) * width) }))
  return { name: DATA, caption, png: await rowsPng(caption, list, data.shape) }
}

/** Such as `31 of 36`; null where nothing tells. */
export function rightOf(shown: readonly { samples: number; right: number | null }[]): string | null {
  if (shown.some(({ right }) => right === null)) return null
  const sum = (of: (s: (typeof shown)[number]) => number) => shown.reduce((total, s) => total + of(s), 0)
  return `${sum(({ right }) => right!)} of ${sum(({ samples }) => samples)}`
}

/** A classifier that knows less of an attribute cannot count its samples. */
const KNOWN = 0.8
/** Of fewer pictures a share says little: one of these is 3 %. */
const FEW_HELD_OUT = 30

/** How far the counts can be trusted. */
export function describeClassifier({ classifier, classifierHeldOut: heldOut }: Counted): string {
  const shares = Object.entries(classifier!)
  const of = (name: string) => heldOut![name]
  const known = shares.map(([name, share]) =>
    share === null ? `${name} not measured` : `${name} of ${(100 * share).toFixed(1)} % of ${of(name)}`,
  )
  const unknown = shares.filter(([, share]) => share !== null && share < KNOWN).map(([name]) => name)
  const few = shares.filter(([name, share]) => share !== null && of(name) < FEW_HELD_OUT).map(([name]) => name)
  const doubts = [
    ...(unknown.length > 0 ? [`too few for counts of ${unknown.join(' and ')} to mean anything`] : []),
    ...(few.length > 0 ? [`so few pictures hardly tell how well it knows ${few.join(' and ')}`] : []),
  ]
  const doubt = doubts.length > 0 ? `: ${doubts.join('; ')}` : ''
  return `counted by a small classifier that tells, of real pictures held out, the ${known.join(', the ')}${doubt}`
}

/** What the samples are of: they are drawn without weights (draw.ts). */
export function describeDrawing({ samples }: Pick<FitResult, 'samples'>): string {
  const composed = samples.some(({ name }) => name === COMPOSITION)
  return `no weights: plain samples are the energy's own, as its gradients draw them${composed ? '; compositions approximate the density named by its gradients alone' : ''}`
}

/** A lower share of plain samples as asked says that there is more to learn. */
const LEARNT = 0.9

/** What would make the samples better, a sentence each. */
export function adviceFor({ samples, classifier, copies, findings }: Advised): string[] {
  const known = classifier && Object.values(classifier).every((share) => share !== null && share >= KNOWN)
  const [right, all] = samples[0]!.rows.reduce(([r, n], row) => [r + (row.right ?? 0), n + row.samples], [0, 0])
  return [
    ...(known && right < LEARNT * all && !copies.copies
      ? [`${right} of ${all} plain samples as asked: more minutes make more of them right (--minutes)`]
      : []),
    ...(copies.copies ? [`more than ${findings.pictures} pictures would make samples differ from them; more minutes do not`] : []), // biome-ignore format: one line
  ]
}

type Advised = Pick<FitResult, 'samples' | 'classifier' | 'copies' | 'findings'>

/** Of a fit that has a classifier. */
type Counted = Pick<FitResult, 'classifier' | 'classifierHeldOut'>

function blocks(result: FitResult, figures: readonly Figure[]): Block[] {
  const { findings, teacher, energy, copies, recipe } = result
  const loss = (value: number | null) => (value === null ? 'none held out' : value.toPrecision(4))
  const row = (name: string, { images, steps, loss: own, heldOutLoss }: FitResult['teacher']) => [
    name,
    String(images),
    String(steps),
    own.toPrecision(4),
    loss(heldOutLoss),
  ]
  return [
    ...describeFindings(findings).map((text): Block => ({ text: text.trim() })),
    ...(result.classifier ? [{ text: `What is as asked is ${describeClassifier(result)}.` }] : []),
    { text: `${describeDrawing(result)}.` },
    { text: `${copies.text}.` },
    ...adviceFor(result).map((text): Block => ({ text: `${text}.` })),
    ...figures.map(pictureOf),
    { heading: 'How it was learnt' },
    {
      header: ['', 'images seen', 'steps', 'loss', 'loss on pictures held out'],
      rows: [row('teacher (a denoiser)', teacher), row('energy, on the teacher’s answers', energy)],
    },
    { text: `Teacher: ${describeRecipe(recipe)}.` },
    ...(energy.recipe ? [{ text: `Energy: ${describeRecipe(energy.recipe)}.` }] : []),
    { text: `${result.seconds} seconds in the last call. ${again(result)}` },
    { heading: 'How to go on' },
    ...sampleCommands(result).map((text): Block => ({ text })),
  ]
}

/**
 * Draws more of it, asking for the first values of the first two attributes where the command line can say them: of both at once, as they were learnt,
 * and of each alone, composed as the pictures of compositions are.
 */
export function sampleCommands({ model, findings }: Pick<FitResult, 'model' | 'findings'>): string[] {
  const asked = findings.attributes
    .slice(0, 2)
    .flatMap(({ name, values }) => values.filter(({ count }) => count > 0).slice(0, 1).map(({ value }) => `${name}=${value}`)) // biome-ignore format: one line
    .filter((pair) => /^[\w.-]+=[\w.-]+$/.test(pair))
  const labels = asked.length > 0 ? ` --attributes ${asked.join(',')}` : ''
  const composed = `feynkac sample ${model} --attributes ${asked[0]} --with ${asked[1]} --divide-prior --guidance ${GUIDANCE}`
  return [`feynkac sample ${model} --method ancestral${labels}`, ...(asked.length > 1 ? [composed] : [])]
}

function again({ asked, images, energyImages }: FitResult): string {
  return `The same bits again: --images ${images} --energy-images ${energyImages} --seed ${asked.seed}.`
}
