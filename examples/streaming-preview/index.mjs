// Previews to a page while a run goes on, by server-sent events; closing the page stops the run. node examples/streaming-preview [port]
import { createServer } from 'node:http'
import { gaussianMixture, lowTemperature, sigmaGrid, smc } from 'feynkac'

const ring = gaussianMixture({
  weights: Array(8).fill(1),
  means: Array.from({ length: 8 }, (_, i) => [3 * Math.cos((i * Math.PI) / 4), 3 * Math.sin((i * Math.PI) / 4)]),
  covariances: Array(8).fill(0.1),
}) // or EnergyModel.load(...)

const page = `<!doctype html><meta charset="utf-8"><title>preview</title><p id="said">...</p><canvas id="c" width="400" height="400"></canvas>
<script>
const draw = document.getElementById('c').getContext('2d')
const source = new EventSource('/run')
source.addEventListener('level', ({ data }) => {
  const { level, lastLevel, sigma, points } = JSON.parse(data)
  document.getElementById('said').textContent = 'level ' + level + ' of ' + lastLevel + ', sigma ' + sigma.toPrecision(2)
  draw.clearRect(0, 0, 400, 400)
  for (let i = 0; i < points.length; i += 2) draw.fillRect(200 + 45 * points[i], 200 - 45 * points[i + 1], 2, 2)
  if (level === lastLevel) source.close()
})
</script>`

async function send(response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  let open = true
  response.on('close', () => {
    open = false
  })
  const target = lowTemperature(ring, { gamma: 2 })
  for await (const level of smc.stream(target, {
    particles: 500,
    sigmas: sigmaGrid({ steps: 48, min: 0.02, max: 20 }),
  })) {
    if (!open) break // stops the run
    const event = {
      level: level.level,
      lastLevel: level.lastLevel,
      sigma: level.sigma,
      points: [...(await level.denoised())],
    }
    response.write(`event: level\ndata: ${JSON.stringify(event)}\n\n`)
  }
  response.end()
}

const server = createServer((request, response) => {
  if (request.url === '/run') void send(response)
  else response.writeHead(200, { 'content-type': 'text/html' }).end(page)
})
server.listen(Number(process.argv[2] ?? 0), () => console.log(`http://localhost:${server.address().port}`))
process.once('SIGTERM', () => server.close())
