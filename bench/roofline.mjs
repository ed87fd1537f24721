#!/usr/bin/env node
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { inParallel } from '../scripts/gpu/process.mjs'
import { note, remembered, versionOf, withIncludes } from '../scripts/remember.mjs'

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

// Kernels that may use local memory: float64 sines of a few numbers.
const MAY_USE_STACK = [/^embed$/]
// What the PTX of a file must hold: that for the first architecture, where TARGET names no other.
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
const TARGET = { 'conv_hopper.cu': 'sm_90a', 'conv_weight_grad_hopper.cu': 'sm_90a' }
// Kernels that are empty elsewhere.
const ONLY = [[/^(convolve|sumOuter)OnHopper$/, 'sm_90a']]
// Shared memory that is chosen at the launch, in bytes, by what the short name has in its brackets: as the sources have it.
const ATTENTION = 2 * 2 * 64 * 36 * 4
const parts = (precision) => (precision === 'fp32' ? 2 : 1)
const DYNAMIC = {
  convolve: (precision, wm, wn, mi, ni) => {
    const [rows, columns] = [wm * mi * 16, wn * ni * 8]
    return precision === 'bf16' ? 3 * 40 * (4 * rows + 2 * columns) : 4 * 20 * 4 * (rows + columns)
  },
  sumOuter: (precision, wn, mi, ni) => 4 * 16 * 4 * (32 * mi + wn * ni * 8 + (precision === 'bf16' ? 2 * 4 : 2 * 8)),
  convolveOnHopper: (precision, _, wide) => 4 * 8 * wide * parts(precision) * 512,
  sumOuterOnHopper: (precision) => 2 * 16 * (parts(precision) * 512 + 16),
  rowMeans: () => ATTENTION,
  writeRows: (_, pass) => ATTENTION + (pass === 'second' || pass === 'tangent' ? 2 : 1) * 4 * 64 * 68,
}
// What a multiprocessor has: warps, blocks, KiB of shared memory; and 65536 registers.
const MULTIPROCESSOR = {
  sm_80: [64, 32, 164],
  sm_86: [48, 16, 100],
  sm_89: [48, 24, 100],
  sm_90a: [64, 32, 228],
  sm_100: [64, 32, 228],
  sm_120: [48, 24, 100],
}
const H200 = { bytes: 4.8e12, fp32: 495e12 / 3, tf32: 495e12, bf16: 990e12 }

const compiler =
  process.env.CUDACXX ?? (fs.existsSync('/usr/local/cuda/bin/nvcc') ? '/usr/local/cuda/bin/nvcc' : 'nvcc')

function nvcc(options, file) {
  return new Promise((resolve, reject) => {
    const child = spawn(compiler, ['-std=c++17', '-I', path.join(root, 'native'), ...options, path.join(folder, file)])
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

/** The kernels of a file for one architecture by the compiler's report, and what is wrong by that and by the PTX. */
async function compile(file, architecture) {
  const kept = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-ptx-'))
  const code = `-gencode=arch=${architecture.replace('sm', 'compute')},code=${architecture}`
  const output = ['-cubin', '-o', path.join(kept, 'kernels.cubin'), '--keep', '--keep-dir', kept] // no host code
  try {
    const report = await nvcc([code, '-Xptxas', '-v', ...output], file)
    const ptx = fs.readdirSync(kept).find((name) => name.endsWith('.ptx'))
    return parse(report, path.basename(file), architecture, fs.readFileSync(path.join(kept, ptx), 'utf8'))
  } finally {
    fs.rmSync(kept, { recursive: true })
  }
}

/** The share of a multiprocessor's warps that its blocks, registers and shared memory leave room for. */
function occupancy({ architecture, threads, registers, shared, bare, short }) {
  const [warps, blocks, kilobytes] = MULTIPROCESSOR[architecture]
  const each = threads / 32
  const inBrackets = short.replace(/.*(ConvKernel|WeightGrad|HopperConv)</, '').match(/\w+/g)
  const dynamic = DYNAMIC[bare]?.(...(inBrackets[0] === bare ? inBrackets.slice(1) : inBrackets)) ?? 0
  const fit = [
    blocks,
    warps / each,
    65536 / (Math.ceil(registers / 8) * 256 * each),
    (kilobytes * 1024) / (shared + dynamic + 1024),
  ]
  return (Math.floor(Math.min(...fit)) * each) / warps
}

function parse(report, file, compiledFor, ptx) {
  const problems = []
  if (compiledFor === (TARGET[file] ?? architectures[0]))
    for (const pattern of MEANT[file] ?? [])
      if (!pattern.test(ptx)) problems.push(`${file}: no ${pattern.source} in its PTX`)
  const bounds = [...ptx.matchAll(/\.entry (\w+)\([\s\S]*?\.maxntid (\d+)/g)].map(([, name, n]) => [name, Number(n)])
  const threads = new Map(bounds)
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
      threads: threads.get(name),
    })
  }
  return { kernels, problems }
}

const files = fs
  .readdirSync(folder, { recursive: true })
  .filter((name) => name.endsWith('.cu'))
  .sort()
const jobs = files.flatMap((file) => architectures.map((architecture) => ({ file, architecture })))
const scripts = ['bench/roofline.mjs', 'scripts/remember.mjs'].map((name) => path.join(root, name))
const versions = [versionOf(compiler), versionOf('c++')]
const results = await inParallel(jobs, os.availableParallelism(), ({ file, architecture }) =>
  remembered([...withIncludes(path.join(folder, file)), ...scripts], [...versions, architecture], () =>
    compile(file, architecture),
  ),
)
const known = results.filter((r) => r.known).length
if (known) note(`${known} of ${jobs.length} compilations known from before`)
const compiled = results.flatMap(({ result }) => result.kernels)
const problems = results.flatMap(({ result }) => result.problems)
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
    '## Registers and occupancy',
    '',
    `For each architecture the registers of a thread, by the compiler's report, and the share of a multiprocessor's warps that blocks of the launch`,
    `bounds, registers and shared memory leave room for; ${kernels.every((k) => k.spills === 0) ? 'no kernel spills' : 'spills are marked'}. Shared memory in bytes, as far as it is known at compile time.`,
    '',
    `| kernel | threads | ${architectures.join(' | ')} | shared |`,
    `|---|--:|${architectures.map(() => '--:|').join('')}--:|`,
  )
  const rows = new Map()
  for (const k of kernels) {
    const row = rows.get(k.short) ?? { shared: k.shared, threads: k.threads }
    row[k.architecture] =
      `${k.registers}, ${Math.round(100 * occupancy(k))} %${k.spills ? ` (spills ${k.spills})` : ''}`
    rows.set(k.short, row)
  }
  for (const [name, row] of rows)
    lines.push(
      `| \`${name}\` | ${row.threads} | ${architectures.map((a) => row[a] ?? '').join(' | ')} | ${row.shared} |`,
    )
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
