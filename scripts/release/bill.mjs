import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { root } from '../platforms/list.mjs'
import { installed } from '../platforms/runtimes.mjs'

/** The bill of materials (CycloneDX) of a tarball: what an installation of it brings. The same bytes each time, and no addresses of this machine. */
export function billOf(tarball, { name, version }) {
  const folder = installed(tarball)
  try {
    const args = ['sbom', '--sbom-format', 'cyclonedx']
    const shell = process.platform === 'win32'
    const bill = JSON.parse(execFileSync('npm', args, { cwd: folder, encoding: 'utf8', shell }))
    const top = bill.metadata.component['bom-ref']
    for (const component of bill.components)
      component.externalReferences = component.externalReferences?.filter(({ type }) => type !== 'distribution')
    const own = bill.components.find((component) => component.name === name)
    delete bill.serialNumber
    bill.metadata.timestamp = execFileSync('git', ['log', '-1', '--format=%cI'], { cwd: root, encoding: 'utf8' }).trim()
    bill.metadata.component = { ...own, purl: `pkg:npm/${name}@${version}` }
    bill.components = bill.components.filter((component) => component !== own)
    bill.dependencies = bill.dependencies.filter(({ ref }) => ref !== top)
    return `${JSON.stringify(bill, null, 2)}\n`
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}
