import fs from 'node:fs'
import path from 'node:path'
import { parseNetworkConfig } from '../../dist/networks/config.js'

/** The description of what a fixture holds, from the head of the file. */
function configOf(file) {
  const descriptor = fs.openSync(file)
  try {
    const length = Buffer.alloc(8)
    fs.readSync(descriptor, length, 0, 8, 0)
    const header = Buffer.alloc(Number(length.readBigUInt64LE()))
    fs.readSync(descriptor, header, 0, header.length, 8)
    return JSON.parse(JSON.parse(header.toString()).__metadata__.config)
  } finally {
    fs.closeSync(descriptor)
  }
}

/** The fixture files of a folder, told apart by whether their network is one that feynkac has. */
export function listFixtures(folder) {
  const files = { supported: [], unsupported: [] }
  const names = fs.existsSync(folder) ? fs.readdirSync(folder).sort() : []
  for (const file of names.filter((name) => name.endsWith('.safetensors')).map((name) => path.join(folder, name)))
    try {
      const { network, shape } = configOf(file)
      parseNetworkConfig(network, shape, file)
      files.supported.push(file)
    } catch {
      files.unsupported.push(file)
    }
  return files
}
