#!/usr/bin/env node
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * What the CUDA kernels cost before any of them runs: the compiler's report of every kernel for every architecture, and the bytes
 * and operations of the jobs with the time they need at least on an H200. Writes bench/roofline.md. With --check it writes
 * nothing. Fails where a kernel keeps registers in local memory, or lacks the tensor-core and copy instructions it is meant to use.
 *
 *   node bench/roofline.mjs [--check] [--counts counts.jsonl] [sm_80 ...]
 *
 * counts.jsonl: the output of the program `roofline` that a build with FEYNKAC_TESTS makes.
 */

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = path.join(root, 'native/kernels/cuda')
const args = process.argv.slice(2)
const check = args.includes('--check')
const countsFile = args.includes('--counts') ? args[args.indexOf('--counts') + 1] : undefined
const named = args.filter((a) => /^sm_\d+a?$/.test(a))
const architectures = named.length ? named : ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_100', 'sm_120']

// Kernels that may use local memory: float64 sines of a few numbers, sequential resampling.
const MAY_USE_STACK = [/^embed$/]
// What the PTX of a file must hold: that for sm_80, where TARGET names no other.
const MEANT = {
  'conv.cu': [/mma\.sync\.aligned\.m16n8k16.*bf16/, /mma\.sync\.aligned\.m16n8k8.*tf32/, /ldmatrix/, /cp\.async\.cg/],
  'conv_weight_grad.cu': [/mma\.sync\.aligned\.m16n8k16.*bf16/, /mma\.sync\.aligned\.m16n8k8.*tf32/, /cp\.async\.cg/],
  'conv_hopper.cu': [
    /wgmma\.mma_async\.sync\.aligned\.m64n64k16.*bf16/,
    /wgmma\.mma_async\.sync\.aligned\.m64n64k8.*tf32/,
    /cp\.async\.bulk\.shared::cluster\.global\.mbarrier/,
    /mbarrier\.try_wait\.parity/,
  ],
  'conv_weight_grad_hopper.cu': [
    /wgmma\.mma_async\.sync\.aligned\.m64n64k16.*bf16/,
    /wgmma\.mma_async\.sync\.aligned\.m64n64k8.*tf32/,
    /fence\.proxy\.async/,
  ],
  'attention.cu': [/mma\.sync\.aligned\.m16n8k8.*tf32/, /ldmatrix/, /cp\.async\.cg/],
}
const TARGET = { 'conv_hopper.cu': 'compute_90a', 'conv_weight_grad_hopper.cu': 'compute_90a' }
// Kernels that are empty elsewhere.
const ONLY = [[/^(convolve|sumOuter)OnHopper$/, 'sm_90a']]
const H200 = { bytes: 4.8e12, fp32: 495e12 / 3, tf32: 495e12, bf16: 990e12 }

function nvcc(options, file) {
  return new Promise((resolve, reject) => {
    const program =
      process.env.CUDACXX ?? (fs.existsSync('/usr/local/cuda/bin/nvcc') ? '/usr/local/cuda/bin/nvcc' : 'nvcc')
    const child = spawn(program, ['-std=c++17', '-I', path.join(root, 'native'), ...options, path.join(folder, file)])
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
    child.on('error', reject)
    child.on('close', (code) => (code === 0 ? resolve(output) : reject(new Error(`${file}: ${output}`))))
  })
}

const demangled = new Map()
function demangle(names) {
  const unknown = names.filter((n) => !demangled.has(n))
  const { stdout } = spawnSync('c++filt', unknown, { encoding: 'utf8' })
  stdout
    ?.trim()
    .split('\n')
    .forEach((line, i) => {
      demangled.set(unknown[i], line)
    })
}

/** `convolve<ConvKernel<bf16, 2, 4, 4, 4, true>>` from the demangled signature. */
function shortName(mangled) {
  const full = demangled.get(mangled) ?? mangled
  return full
    .replaceAll('feynkac::', '')
    .replaceAll('tensor::', '')
    .replaceAll('(anonymous namespace)::', '')
    .replace(/^void /, '')
    .replace(/\((?!Precision|Pass|Output).*$/, '')
    .replaceAll(/\(Precision\)(\d)/g, (_, p) => ['fp32', 'tf32', 'bf16'][p])
    .replaceAll(/\(Pass\)(\d)/g, (_, p) => ['forward', 'tangent', 'adjoint', 'second'][p])
    .replaceAll(/\(Output\)(\d)/g, (_, p) => ['queries', 'keys', 'values'][p])
}

function parse(report, file) {
  // ptxas makes the products wait for each other where it sees their registers change meanwhile
  for (const [line] of report.matchAll(/.*wgmma.*serialized.*/g)) problems.push(`${file}: ${line}`)
  const kernels = []
  for (const part of report.split('Compiling entry function').slice(1)) {
    const [, name, architecture] = /'([^']+)' for '([^']+)'/.exec(part)
    const numbers = (pattern) => Number(pattern.exec(part)?.[1] ?? 0)
    kernels.push({
      file,
      name,
      architecture,
      registers: numbers(/Used (\d+) registers/),
      stack: numbers(/(\d+) bytes stack frame/),
      spills: numbers(/(\d+) bytes spill stores/) + numbers(/(\d+) bytes spill loads/),
      shared: numbers(/(\d+) bytes smem/),
    })
  }
  return kernels
}

async function inParallel(jobs, width) {
  const results = []
  let next = 0
  const worker = async () => {
    while (next < jobs.length) {
      const i = next++
      results[i] = await jobs[i]()
    }
  }
  await Promise.all(Array.from({ length: width }, worker))
  return results
}

const files = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith('.cu'))
  .sort()
const jobs = files.flatMap((file) =>
  architectures.map(
    (a) => async () => parse(await nvcc([`-arch=${a}`, '-Xptxas', '-v', '-c', '-o', os.devNull], file), file),
  ),
)
const problems = []
const compiled = (await inParallel(jobs, os.availableParallelism())).flat()
demangle([...new Set(compiled.map((k) => k.name))])
const kernels = compiled.filter((k) => {
  k.short = shortName(k.name)
  k.bare = k.short.replace(/<.*/s, '')
  return ONLY.every(([kernel, architecture]) => !kernel.test(k.bare) || k.architecture === architecture)
})
for (const k of kernels) {
  if (k.spills > 0 || (k.stack > 0 && !MAY_USE_STACK.some((p) => p.test(k.bare))))
    problems.push(`${k.file} ${k.short} on ${k.architecture}: ${k.stack} bytes of stack, ${k.spills} bytes of spills`)
}
for (const [file, patterns] of Object.entries(MEANT)) {
  const to = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-ptx-')), 'file.ptx')
  await nvcc([`-arch=${TARGET[file] ?? 'compute_80'}`, '-ptx', '-o', to], file)
  const ptx = fs.readFileSync(to, 'utf8')
  fs.rmSync(path.dirname(to), { recursive: true })
  for (const pattern of patterns) if (!pattern.test(ptx)) problems.push(`${file}: no ${pattern.source} in its PTX`)
}
console.log(`${kernels.length} kernels of ${files.length} files for ${architectures.join(', ')}`)
if (!check) fs.writeFileSync(path.join(root, 'bench/roofline.md'), page())
for (const problem of problems) console.error(problem)
process.exitCode = problems.length > 0 ? 1 : 0

function page() {
  const lines = [
    '# What the CUDA kernels need',
    '',
    'Made by `node bench/roofline.mjs`; nothing here was measured on a GPU.',
    '',
  ]
  if (countsFile) lines.push(...floors(countsFile))
  lines.push(
    '## Registers',
    '',
    `The compiler's report, registers for each architecture (shared memory known at compile time in bytes); ${kernels.every((k) => k.spills === 0) ? 'none spills' : 'spills are marked'}.`,
    '',
    `| kernel | ${architectures.join(' | ')} | shared |`,
    `|---|${architectures.map(() => '--:|').join('')}--:|`,
  )
  const rows = new Map()
  for (const k of kernels) {
    const row = rows.get(k.short) ?? { shared: k.shared }
    row[k.architecture] = `${k.registers}${k.spills ? ` (spills ${k.spills})` : ''}`
    rows.set(k.short, row)
  }
  for (const [name, row] of rows)
    lines.push(`| \`${name}\` | ${architectures.map((a) => row[a] ?? '').join(' | ')} | ${row.shared} |`)
  return `${lines.join('\n')}\n`
}

/** Time floors of each job: operations over the precision's peak, bytes over the bandwidth, whichever is longer for each kind of call. */
function floors(file) {
  const jobs = fs
    .readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const lines = [
    '## Floors on an H200',
    '',
    'Bytes if every call reads its inputs and writes its outputs once (float32 in memory), operations of the products; the floor adds, for each',
    'kind of call, the longer of bytes / 4.8 TB/s and operations / peak: 495 TFLOP/s TF32 (fp32: three products, 165), 990 bf16. A graph removes the',
    "launches' time; what is left above the floor is the kernels' own.",
    '',
    '| network | job | batch | calls | TFLOP | GB | floor fp32 | tf32 | bf16 | working memory |',
    '|---|---|--:|--:|--:|--:|--:|--:|--:|--:|',
  ]
  for (const { network, job, batch, arenaBytes, costs } of jobs) {
    const kinds = Object.entries(costs)
      .filter(([kind]) => kind !== 'transfer')
      .map(([, c]) => c)
    const total = (i) => kinds.reduce((sum, c) => sum + c[i], 0)
    const floor = (p) =>
      `${(1e3 * kinds.reduce((sum, [, operations, bytes]) => sum + Math.max(operations / H200[p], bytes / H200.bytes), 0)).toFixed(2)} ms`
    lines.push(
      `| ${network} | ${job} | ${batch} | ${total(0)} | ${(total(1) / 1e12).toFixed(2)} | ${(total(2) / 1e9).toFixed(1)} | ${floor('fp32')} | ${floor('tf32')} | ${floor('bf16')} | ${(arenaBytes / 2 ** 30).toFixed(2)} GiB |`,
    )
  }
  return [...lines, '']
}
