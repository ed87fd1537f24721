// Many GPUs on paper: what training and smc on 8 to 1000 of them would reach if the figures below were theirs. Nothing here was measured; the
// exchange it counts is that of native/ranks/device_sum.h, two levels: slices to the 8 GPUs of a node by NCCL, then by way of the host to the same
// GPU of the other nodes, and back. With overlap: as native/engine/trainable.cpp does it, parts of the gradient leave while the last backward
// pass goes on, and what is left of the exchange after it is the last part at least.
//
//   node bench/ranks-model.mjs [seconds of host work a level, 0.02]
const NVLINK = 370e9 // bytes a second of a GPU and direction within a node of 8 H100
const PORT = 45e9 // the same between nodes, of one 400 Gb/s port a GPU
const PCIE = 50e9 // the same between a GPU and its host
const ADDED = 10e9 // bytes a second that a host's core adds up
const FLOPS = 0.4 * 990e12 // reached in bf16
const MESSAGE = 3e-6 // seconds
const SLOWEST = 0.03 // share that the slowest of many nodes adds

const ms = (seconds) => (1000 * seconds).toFixed(1)
const percent = (share) => `${(100 * share).toFixed(0)} %`
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`)
const head = (...names) => {
  row(...names)
  row(...names.map(() => '---'))
}

/** Seconds of a sum of so many bytes, of which so many travel at a time. */
function exchange(bytes, together, gpus) {
  const [local, nodes] = [Math.min(8, gpus), Math.max(1, gpus / 8)]
  const times = Math.ceil(bytes / together)
  const inside = (((local - 1) / local) * bytes) / NVLINK + times * (local - 1) * MESSAGE
  if (nodes === 1) return 2 * inside
  const between = (((nodes - 1) / nodes) * bytes) / local / PORT + times * (nodes - 1) * MESSAGE
  return 2 * (inside + between + bytes / local / PCIE) + bytes / local / ADDED
}

/** Bytes that travel at a time: atOnce() of device_sum.h. */
const atOnce = (floats, gpus) => 4 * floats * Math.max(1, Math.floor(gpus / 128))

head('network', 'images a GPU', 'GPUs', 'compute ms', 'exchange ms', 'efficiency', 'with overlap')
for (const [name, parameters, forward] of [
  ['EDM CIFAR-10', 55.7e6, 42e9],
  ['ADM ImageNet-64', 296e6, 104e9],
])
  for (const images of [16, 64])
    for (const gpus of [8, 64, 256, 1000]) {
      const compute = (images * 7 * forward) / FLOPS // a step of distillation is seven forward passes
      const part = atOnce(2 ** 22, gpus)
      const [all, last] = [exchange(4 * parameters, part, gpus), exchange(part, part, gpus)]
      // parts leave while the last micro-batch of 16 makes its weight gradients, 2 of its 7 units
      const window = (2 / 7) * compute * Math.min(1, 16 / images)
      const left = Math.max(Math.min(last, all), all - window)
      const efficiency = (t) => percent(compute / ((gpus > 8 ? 1 + SLOWEST : 1) * compute + t))
      row(name, images, gpus, ms(compute), ms(all), efficiency(all), efficiency(left))
    }

console.log(
  '\nsmc: 1e6 particles of 3 x 64 x 64, a product of two ADM energies, 30 % of the rows travelling, 80 % of the worst rank',
)
head('GPUs', 'particles each', 'memory each, GB', 'evaluate a level, ms', 'gather, ms', 'travel, ms', 'efficiency')
const [particles, d, forward, host] = [1e6, 12288, 104e9, Number(process.argv[2] ?? 0.02)]
for (const gpus of [64, 256, 1000]) {
  const each = particles / gpus
  const evaluate = (each * 4 * forward) / FLOPS
  const gather = (6 * 8 * particles) / PORT + gpus * MESSAGE
  const travel = (0.8 * each * 2 * 4 * d) / PORT + gpus * MESSAGE
  const efficiency = percent(evaluate / ((1 + SLOWEST) * evaluate + gather + travel + host))
  row(gpus, each.toFixed(0), ((5 * 4 * d * each) / 1e9).toFixed(1), ms(evaluate), ms(gather), ms(travel), efficiency)
}
