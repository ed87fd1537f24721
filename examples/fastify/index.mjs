// A route of one's own Fastify, whose run ends when the client goes away. `feynkac serve` has more: queue, limits, events.
// node examples/fastify [port]
import Fastify from 'fastify'
import { FeynkacError, gaussianMixture, lowTemperature, sigmaGrid, smc } from 'feynkac'

const app = Fastify()
const energy = gaussianMixture({
  weights: [1, 2],
  means: [
    [-1, 0],
    [1, 0],
  ],
  covariances: [0.1, 0.2],
}) // or EnergyModel.load(...)

app.get('/samples', async (request, reply) => {
  const gone = new AbortController()
  reply.raw.on('close', () => {
    if (!reply.raw.writableFinished) gone.abort(new Error('the client went away'))
  })
  const { particles = 64, steps = 32, seed = 0 } = request.query
  if (!(particles <= 100_000 && steps <= 10_000)) return reply.code(400).send({ error: 'too much' })
  try {
    const result = await smc(lowTemperature(energy, { gamma: 2 }), {
      particles: Number(particles),
      sigmas: sigmaGrid({ steps: Number(steps), min: 0.02, max: 20 }),
      seed: Number(seed),
      signal: gone.signal, // stops within one step
    })
    return result // JSON by its toJSON
  } catch (error) {
    if (gone.signal.aborted) {
      console.log('cancelled')
      return reply
    }
    return reply.code(error instanceof FeynkacError ? 400 : 500).send({ error: error.message })
  }
})

await app.listen({ port: Number(process.argv[2] ?? 0) })
console.log(`http://localhost:${app.server.address().port}`)
process.once('SIGTERM', () => app.close())
