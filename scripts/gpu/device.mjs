// Prints the CUDA devices of this machine as the addon sees them, and what the self-test of the first one chose, as one JSON object.
import { native } from '../../dist/native.js'

const { devices, ...found } = native.cuda()
let kernels
if (devices.length > 0)
  try {
    kernels = await native.checkCuda(0).promise
  } catch (error) {
    kernels = { path: null, failure: error.message }
  }
console.log(JSON.stringify({ ...found, devices, kernels }))
