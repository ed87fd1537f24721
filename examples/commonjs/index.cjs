// From CommonJS: Node 20.19 and newer require() modules. node examples/commonjs/index.cjs
const { gaussianMixture, sample, sigmaGrid } = require('feynkac')

async function main() {
  const normal = gaussianMixture({ weights: [1], means: [[1, -1]], covariances: [0.25] })
  const result = await sample(normal, { particles: 500, sigmas: [...sigmaGrid({ steps: 24 }), 0] })
  console.log(JSON.stringify({ mean: [...result.mean()], variance: [...result.variance()] }))
}
main()
