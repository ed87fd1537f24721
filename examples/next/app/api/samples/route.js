import { ArgumentError } from 'feynkac'
import { draw } from '../../samples.js'

export const runtime = 'nodejs'

export async function GET(request) {
  const asked = new URL(request.url).searchParams
  const [particles, gamma] = [Number(asked.get('particles') ?? 64), Number(asked.get('gamma') ?? 1)]
  if (!(particles <= 100_000)) return Response.json({ error: 'too many particles' }, { status: 400 })
  try {
    return Response.json(await draw({ particles, gamma, signal: request.signal })) // JSON by its toJSON
  } catch (error) {
    if (request.signal.aborted) return new Response(null, { status: 499 })
    return Response.json({ error: error.message }, { status: error instanceof ArgumentError ? 400 : 500 })
  }
}
