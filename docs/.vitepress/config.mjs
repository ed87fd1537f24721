import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitepress'

const docs = fileURLToPath(new URL('..', import.meta.url))
const repository = 'https://github.com/feynkac/feynkac'

const page = (text, link) => ({ text, link })
const there = ({ link }) => !link || fs.existsSync(path.join(docs, `${link}.md`))
const section = (text, items, collapsed = false) => ({ text, items: items.filter(there), collapsed })

/** Pages that docs/build.mjs generated in a folder, by name. */
function generated(folder, text) {
  const files = fs.existsSync(path.join(docs, folder)) ? fs.readdirSync(path.join(docs, folder)).sort() : []
  const items = files.filter((file) => file.endsWith('.md') && file !== 'index.md').map((file) => file.slice(0, -3))
  return section(
    text,
    items.map((name) => page(name, `/${folder}/${name}`)),
    true,
  )
}

const experiments = fs
  .readdirSync(path.join(docs, 'experiments'))
  .sort()
  .map((name) => page(name, `/experiments/${name}/report`))

const sidebar = [
  section('Start', [
    page('Install', '/start/install'),
    page('A first composition in a minute', '/start/first-composition'),
    page('Your own labelled pictures', '/start/own-pictures'),
    page('Checkpoints of EDM, diffusers, PyTorch', '/start/checkpoints'),
  ]),
  section('Concepts', [
    page('Noise, scores and energies', '/concepts/energies'),
    page('Distillation by projection', '/concepts/distillation'),
    page('SMC on one page', '/concepts/smc'),
    page('Kernels and proposals', '/concepts/kernels'),
    page('Precision tables', '/concepts/precision-tables'),
    page('Networks', '/concepts/networks'),
    page('The engine', '/concepts/engine'),
    page('Conventions, seeds, determinism', '/concepts/conventions'),
  ]),
  section('Guides', [
    page('From pictures to an energy: fit', '/fit'),
    page('Train and distil', '/guides/distil'),
    page('AND, OR, NOT', '/guides/compose'),
    page('Boxes, sets, rewards', '/guides/boxes-and-rewards'),
    page('Labels and guidance', '/guides/labels'),
    page('Latents', '/guides/latents'),
    page('Classifiers', '/guides/classifiers'),
    page('Data formats', '/guides/data-formats'),
    page('Evaluate', '/guides/evaluate'),
    page('Separated modes', '/levelled'),
    page('Denoiser and energy in one', '/joint'),
    page('The head residual', '/residual'),
    page('Weights by likelihood', '/likelihood'),
    page('Are the weights right?', '/right-weights'),
    page('Targets averaged over the data', '/smoothed-targets'),
    page('Weights of denoisers', '/denoiser-weights'),
    page('GPU', '/guides/gpu'),
    page('Many processes', '/guides/ranks'),
    page('Platforms', '/guides/platforms'),
    page('Bundlers', '/guides/bundlers'),
    page('Containers', '/guides/containers'),
    page('Embed in a service', '/guides/embed'),
    page('Serve over HTTP', '/guides/serve'),
    page('Watch runs', '/guides/watch'),
  ]),
  section('Diagnose', [
    page('From symptom to remedy', '/diagnose/symptoms'),
    page('Messages', '/diagnose/messages'),
    page('When particles degenerate', '/degeneracy'),
  ]),
  section('Reference', [
    page('Options of smc', '/reference/smc'),
    page('All options', '/reference/options'),
    page('Errors and exit codes', '/reference/errors'),
    page('Files', '/reference/files'),
    page('Noise schedules', '/noise-schedules'),
    page('What is promised', '/reliability'),
    generated('reference/cli', 'Commands'),
    ...['functions', 'classes', 'interfaces', 'types'].map((kind) =>
      generated(`reference/api/${kind}`, `API: ${kind}`),
    ),
  ]),
  section('Results', [
    section('Experiments', [page('What holds, what does not', '/experiments'), ...experiments], true),
    page('The recipe of training', '/recipe'),
    page('Benchmarks', '/results/benchmarks'),
    page('Real images', '/results/pictures'),
    page('Sprites of 64 × 64', '/sprites'),
    page('Reliability', '/results/reliability'),
  ]),
  section('Contribute', [
    page('A map of the floors', '/contribute/map'),
    page('Add an operation', '/contribute/operation'),
    page('Add a training loss', '/contribute/loss'),
    page('Add a target', '/contribute/target'),
    page('Add a resampling scheme', '/contribute/scheme'),
    page('Add a metric', '/contribute/metric'),
    page('Add a data format', '/contribute/format'),
    page('Add a command', '/contribute/command'),
    page('Add an option', '/contribute/option'),
    page('Add a CUDA architecture', '/contribute/architecture'),
    page('Reference vectors, changelog', '/contribute/fixtures'),
  ]),
]

/** Equations are indented blocks, shown as code blocks are. */
function equations(md) {
  md.core.ruler.push('equations', ({ tokens }) => {
    for (const token of tokens)
      if (token.type === 'code_block') Object.assign(token, { type: 'fence', info: 'text', tag: 'code' })
  })
}

/** Links to files of the repository that are no pages of the site go to the repository. */
function outward(md) {
  md.core.ruler.push('outward', ({ tokens, env }) => {
    const folder = path.dirname(env.path ?? path.join(docs, env.relativePath ?? ''))
    for (const token of tokens.flatMap(({ children }) => children ?? []))
      if (token.type === 'link_open') {
        const href = token.attrGet('href')
        if (/^([a-z]+:|#|\/)/.test(href)) continue
        const file = path.relative(docs, path.resolve(folder, decodeURIComponent(href.split('#')[0])))
        if (file.startsWith('..')) token.attrSet('href', `${repository}/blob/main/${file.slice(3)}`)
      }
  })
}

export default defineConfig({
  title: 'feynkac',
  description: 'Diffusion models as energies, sampled under control',
  base: process.env.FEYNKAC_DOCS_BASE ?? '/',
  cleanUrls: false,
  lastUpdated: false,
  srcExclude: ['node_modules/**'],
  markdown: { config: (md) => md.use(outward).use(equations), lineNumbers: false },
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  themeConfig: {
    nav: [
      page('Start', '/start/first-composition'),
      page('Concepts', '/concepts/energies'),
      page('Guides', '/guides/compose'),
      page('Reference', '/reference/smc'),
      page('Results', '/experiments'),
    ],
    sidebar,
    outline: [2, 3],
    search: { provider: 'local' },
    socialLinks: [{ icon: 'github', link: repository }],
  },
})
