// Prints the CUDA devices of this machine as the addon sees them, and what the self-test of the first one chose, as one JSON object.
try {
  const { native } = await import('../../dist/native/addon.js')
  const { devices, ...found } = native.cuda()
  const rejected = (error) => ({ path: null, failure: error.message })
  const kernels = devices.length > 0 ? await native.checkCuda(0).promise.catch(rejected) : undefined
  console.log(JSON.stringify({ ...found, devices, kernels }))
} catch (error) {
  console.error(error.message.replaceAll('\n', ' '))
  process.exitCode = 1
}
