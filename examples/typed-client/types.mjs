// Writes openapi.json, the description of a server without models of its own, and api.d.ts, made of it by openapi-typescript, which needs
// TypeScript 5: npm exec --package=openapi-typescript@7.13.0 --package=typescript@5.9.3 -- node examples/typed-client/types.mjs
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { createEngine, EnergyModel, residualMLP, serve } from 'feynkac'

const at = (name) => fileURLToPath(new URL(name, import.meta.url))
const plane = await EnergyModel.create({ network: residualMLP(2, { hidden: 8 }), kind: 'dot' })
const server = await serve(await createEngine({ models: { plane } }))
const description = await (await fetch(`${server.url}/openapi.json`)).json()
await server.close()
plane.dispose()
await writeFile(at('openapi.json'), `${JSON.stringify(description, null, 2)}\n`)
if (!process.argv.includes('--description'))
  execFileSync('openapi-typescript', [at('openapi.json'), '-o', at('api.d.ts')], { stdio: 'inherit' })
