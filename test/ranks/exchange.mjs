// Collective operations with uneven and empty counts, and work that is shared; the event loop goes on meanwhile.
import assert from 'node:assert/strict'
import { communicator, share } from '../../dist/index.js'
import { native, run } from '../../dist/native/addon.js'

const ranks = await communicator()
const { rank, size } = ranks
const list = (of) => Array.from({ length: size }, (_, r) => of(r))
let ticks = 0
const timer = setInterval(() => ticks++, 1)

// the tree over ranks, computed here; more values than a segment
const n = 4_300_001
const value = (r, i) => Math.fround(Math.sin(i * 0.37 + r) * 10 ** ((i + r) % 7))
const tree = (i, first, last) => {
  if (last - first === 1) return value(first, i)
  const cut = first + 2 ** Math.ceil(Math.log2(last - first) - 1)
  return Math.fround(tree(i, first, cut) + tree(i, cut, last))
}
const values = new Float32Array(n).map((_, i) => value(rank, i))
await run(() => native.ranks.sum(values))
for (let i = 0; i < n; i += 4999) assert.equal(values[i], tree(i, 0, size))
if (size === 4) {
  const second = new Float32Array(n).map((_, i) => value(rank, i))
  await run(() => native.ranks.sum(second, 2))
  for (let i = 0; i < n; i += 4999) assert.equal(second[i], Math.fround(value(rank % 2, i) + value((rank % 2) + 2, i)))
}
assert.ok(ticks > 5, `the event loop had ${ticks} turns`)
clearInterval(timer)

const gathered = await ranks.allGather(
  new Float64Array(2 * rank).fill(rank + 0.5),
  list((r) => 2 * r),
)
assert.deepEqual([...gathered], list((r) => Array(2 * r).fill(r + 0.5)).flat())
const into = new Float64Array(size)
assert.equal(await ranks.allGather(Float64Array.of(rank), undefined, into), into)
assert.deepEqual(
  [...into],
  list((r) => r),
)
const counts = list((r) => (rank + r) % 3)
const sent = Float32Array.from(counts.flatMap((count, r) => Array(count).fill(10 * rank + r)))
const got = await ranks.allToAll(sent, counts, counts)
assert.deepEqual([...got], list((r) => Array(counts[r]).fill(10 * r + rank)).flat())
assert.equal(await ranks.any(rank === size - 1), true)
assert.equal(await ranks.any(false), false)
const results = await share(ranks, [5, 6, 7, 8, 9], async (item, index) => ({ item, index, rank }))
assert.deepEqual(
  results,
  [5, 6, 7, 8, 9].map((item, index) => ({ item, index, rank: index % size })),
)
await assert.rejects(ranks.allGather(new Float32Array(2), [1]), /an array of \d counts/)
await ranks.barrier()
