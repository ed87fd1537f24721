// Adds a job and waits for its result. node examples/queue/add.mjs [folder]
import { Queue, QueueEvents } from 'bullmq'
import { Redis } from 'ioredis'

const connection = new Redis(process.env.REDIS_URL ?? 'redis://localhost:6379', { maxRetriesPerRequest: null })
const [queue, events] = [new Queue('samples', { connection }), new QueueEvents('samples', { connection })]
await events.waitUntilReady()
events.on('progress', ({ data }) => console.error(`level ${data.level} of ${data.lastLevel}`))
const job = await queue.add('draw', { gamma: 2, particles: 500, steps: 40, folder: process.argv[2] ?? '.' })
console.log(JSON.stringify(await job.waitUntilFinished(events)))
await Promise.all([queue.close(), events.close()])
connection.disconnect()
