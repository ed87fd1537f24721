import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root } from '../platforms/list.mjs'
import { joinModules } from './join.mjs'

/** Packing what is published: the files that package.json lists, with what only a clone needs taken out of the manifest and the README. */

const manifestOf = (folder) => JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'))

/** The packages of a release, in the order of publishing: the addon with CUDA kernels, feynkac, which names it, the lab, which needs feynkac, the page. */
export const folders = {
  cuda: path.join(root, 'packages/linux-x64-cuda'),
  feynkac: root,
  lab: path.join(root, 'packages/lab'),
  watch: path.join(root, 'packages/watch'),
}

const npm = (args, cwd) =>
  execFileSync('npm', [...args, '--json', '--ignore-scripts'], {
    cwd,
    encoding: 'utf8',
    shell: process.platform === 'win32',
    stdio: ['ignore', 'pipe', 'pipe'],
  })

/** npm before and after version 12 differ in what they print. */
const listed = (json) => Object.values(JSON.parse(json))[0]

/** Where files of the repository are to be seen on the web, at the tag of a version. */
function addresses({ repository, version }) {
  const [, owner] = /github\.com\/([^/]+\/[^/.]+)/.exec(repository.url)
  return {
    page: `https://github.com/${owner}/blob/v${version}/`,
    picture: `https://raw.githubusercontent.com/${owner}/v${version}/`,
  }
}

/** A README with absolute links: a registry shows it far from the files that it names. Links within it stay. */
export function withAbsoluteLinks(text, manifest) {
  const { page, picture } = addresses(manifest)
  return text.replace(
    /(!?)\[((?:[^[\]]|\[[^\]]*\])*)\]\((?!https?:|#|mailto:)([^)\s]+)\)/g,
    (_, image, label, file) => {
      return `${image}[${withAbsoluteLinks(label, manifest)}](${(image ? picture : page) + file.replace(/^\.\//, '')})`
    },
  )
}

/** The manifests as they are published: nothing of them runs or is installed at the user's that is for a clone. */
const published = {
  cuda: (manifest, { version, repository, homepage, bugs }) => ({ ...manifest, version, repository, homepage, bugs }),
  feynkac: ({ scripts, devDependencies, workspaces, ...manifest }, { version }, withCuda) => ({
    ...manifest,
    ...(withCuda ? { optionalDependencies: { [manifestOf(folders.cuda).name]: version } } : {}),
  }),
  lab: ({ devDependencies, ...manifest }) => manifest,
  watch: ({ devDependencies, ...manifest }) => manifest,
}

/**
 * Packs a package into the folder `to`. withCuda: feynkac's manifest names the package with CUDA kernels, which then has to be published
 * first. Returns the tarball and what npm says of it.
 */
export async function pack(to, name = 'feynkac', { withCuda = false } = {}) {
  const main = manifestOf(root)
  const from = folders[name]
  const stage = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-stage-'))
  try {
    const manifest = published[name](manifestOf(from), main, withCuda)
    const dry = path.join(stage, 'listed')
    fs.mkdirSync(dry) // npm wants a version, which the CUDA package's own manifest lacks
    if (name === 'cuda') fs.cpSync(from, dry, { recursive: true })
    if (name === 'cuda') fs.writeFileSync(path.join(dry, 'package.json'), JSON.stringify(manifest))
    const { files } = listed(npm(['pack', '--dry-run'], name === 'cuda' ? dry : from))
    const folder = path.join(stage, 'package')
    for (const { path: file, mode } of files) {
      const target = path.join(folder, file)
      fs.mkdirSync(path.dirname(target), { recursive: true })
      fs.copyFileSync(path.join(from, file), target)
      fs.chmodSync(target, mode & 0o111 ? 0o755 : 0o644) // not as the umask of the machine that packs has it
    }
    if (name === 'feynkac') await joinModules(path.join(folder, 'dist'))
    fs.copyFileSync(path.join(root, 'LICENSE'), path.join(folder, 'LICENSE'))
    fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
    const readme = path.join(folder, 'README.md')
    fs.writeFileSync(readme, withAbsoluteLinks(fs.readFileSync(readme, 'utf8'), main))
    fs.mkdirSync(to, { recursive: true })
    const packed = listed(npm(['pack', '--pack-destination', path.resolve(to)], folder))
    return { ...packed, tarball: path.join(path.resolve(to), packed.filename.replace('@', '').replace('/', '-')) }
  } finally {
    fs.rmSync(stage, { recursive: true })
  }
}
