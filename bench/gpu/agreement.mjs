import fs from 'node:fs'

/** Whether two sides computed the same from the same weights and inputs: what rounding in a precision may make of it. */

export const BOUNDS = { fp32: 1e-3, tf32: 2e-2, bf16: 0.2 }

const floats = (file) => new Float32Array(new Uint8Array(fs.readFileSync(file)).buffer)

/** ||a - b|| / ||b||, infinite where the two cannot be compared. */
function relative(a, b) {
  if (a.length !== b.length) return Infinity
  let difference = 0
  let norm = 0
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - b[i]) ** 2
    norm += b[i] ** 2
  }
  const error = Math.sqrt(difference / norm)
  return Number.isFinite(error) ? error : Infinity
}

/** The largest relative difference of a peer's outputs from ours: images from files, numbers from the answers. */
export function disagreement(ours, peer, ourFile, peerFile) {
  const errors = ['energy', 'loss', 'gradNorm']
    .filter((key) => ours[key] !== undefined)
    .map((key) => relative([peer[key] ?? []].flat(), [ours[key]].flat()))
  if (fs.existsSync(ourFile))
    errors.push(fs.existsSync(peerFile) ? relative(floats(peerFile), floats(ourFile)) : Infinity)
  return errors.length > 0 ? Math.max(...errors) : Infinity
}
