#!/usr/bin/env node
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { Command } from 'commander'
import { hasProgram, root } from './list.mjs'

/**
 * Whether compilers keep the tiles of the CPU's products in registers: the inner loops that multiply and add are looked for in the assembly
 * of the kernels, and a vector that one of them puts on the stack is a spill. (A tile that is indexed at run time is in
 * memory all along with Clang, and a convolution then takes more than twice as long.)
 */

const x64 = {
  sets: {
    baseline: [],
    avx2: ['-mavx2', '-mfma'],
    avx512: ['-mavx512f', '-mavx512dq', '-mavx512vl', '-mavx512bw', '-mfma', '-mprefer-vector-width=512'],
  },
  multiply: /^v?(fmadd|mul)\w*ps\b/,
  spread: /^vbroadcastss\s|\{1to16\}|^v?shufps\s+\$0,/,
  stack: /^v?mov[au]p[sd]\s+%[xyz]mm\d+,.*\(%r[sb]p\)/,
  triple: 'x86_64',
}
const arm64 = {
  sets: { baseline: [] },
  multiply: /^fmla\b/,
  spread: /^fmla\s.*\.s\[\d\]|^dup\b|^ld1r\b/,
  stack: /^st[rp]\s+q\d+.*\[sp/,
  triple: 'aarch64',
}
const compilers = {
  'g++': x64,
  'clang++': x64,
  'aarch64-linux-gnu-g++': arm64,
  'clang++ --target=aarch64-linux-gnu': arm64,
}

/** Across, Clang takes the headers of the GCC for the same target. */
const isThere = (compiler) =>
  compiler.split(' ').every((part) => hasProgram(part.startsWith('--target=') ? `${part.slice(9)}-g++` : part))

/** conv_narrow's and attention's loops are no tiles of this kind. */
const sources = ['conv_direct', 'conv_direct_grad', 'conv_pointwise', 'conv_winograd', 'conv_winograd_grad']
const flags =
  '-std=c++17 -O3 -fPIC -fno-math-errno -fno-trapping-math -ffp-contract=fast -Wno-psabi -fvisibility=hidden -S -o -'.split(
    ' ',
  )

/** The innermost loops of a text of assembly, each as its instructions. */
function loops(assembly) {
  const lines = assembly.split('\n').map((line) => line.replace(/\s*(#|\/\/).*$/, '').trim())
  const label = new Map(lines.flatMap((line, at) => (line.endsWith(':') ? [[line.slice(0, -1), at]] : [])))
  const ends = lines.flatMap((line, at) => {
    const [, to] = /^(?:j\w+|b\.?\w*|cb\w+\s+\w+,|tb\w+\s+\w+,\s*#?\w+,)\s+(\.L\w+)$/.exec(line) ?? []
    return label.has(to) && label.get(to) < at ? [[label.get(to), at]] : []
  })
  const innermost = ends.filter(([from, to]) => !ends.some(([a, b]) => a >= from && b < to))
  return innermost.map(([from, to]) => lines.slice(from, to + 1).filter((line) => !/[:]$|^\./.test(line)))
}

/** A loop of a tile: at least so many products, not much besides, as transforms have, and values that are spread over a vector's lanes for them. */
const [PRODUCTS, SHARE, SPREAD] = [8, 0.2, 4]

/** Products a cycle of a loop by LLVM's model of a CPU (llvm-mca), where nothing waits for memory. */
function modelled(loop, products, triple, cpu) {
  const input = ['1:', ...loop.map((line) => line.replace(/\.L\w+$/, '1b'))].join('\n')
  const rounds = 200
  const args = [`-mtriple=${triple}`, `-mcpu=${cpu}`, `-iterations=${rounds}`]
  const { stdout } = spawnSync('llvm-mca', args, { input, encoding: 'utf8' })
  const cycles = /Total Cycles:\s+(\d+)/.exec(stdout)?.[1]
  return cycles ? ((products * rounds) / cycles).toFixed(2) : 'an unknown number'
}

const command = new Command('tiles')
  .description('Check that compilers keep the tiles of convolutions in registers.')
  .argument('[compiler...]', Object.keys(compilers).join(', '), Object.keys(compilers).filter(isThere))
  .option('--model <cpu>', "products a cycle of each source's largest tile by LLVM's model of a CPU, as apple-a14")
  .parse()
const { model } = command.opts()
for (const compiler of command.processedArgs[0]) {
  const { sets, multiply, spread, stack, triple } = compilers[compiler]
  for (const [isa, options] of Object.entries(sets)) {
    let [tiles, spilt] = [0, 0]
    for (const source of sources) {
      const file = path.join(root, 'native/kernels/cpu/network', `${source}.cpp`)
      if (!fs.existsSync(file)) throw new Error(`${file} is not there any more: tiles.mjs lists it`)
      const [program, ...target] = compiler.split(' ')
      const { status, stdout, stderr } = spawnSync(
        program,
        [...target, ...flags, ...options, `-DFEYNKAC_ISA=${isa}`, '-I', path.join(root, 'native'), file],
        { encoding: 'utf8', maxBuffer: 2 ** 28 },
      )
      if (status !== 0) throw new Error(`${compiler} ${source}: ${stderr}`)
      const has = (loop, pattern) => loop.filter((line) => pattern.test(line)).length
      const found = loops(stdout).filter(
        (loop) => has(loop, multiply) >= Math.max(PRODUCTS, SHARE * loop.length) && has(loop, spread) >= SPREAD,
      )
      tiles += found.length
      const tile = found.reduce((a, b) => (has(b, multiply) > has(a, multiply) ? b : a), [])
      if (model && tile.length) {
        const products = has(tile, multiply)
        console.log(
          `${source}: ${products} products of ${tile.length} instructions, ${modelled(tile, products, triple, model)} a cycle`,
        )
      }
      for (const loop of found) {
        const touching = loop.filter((line) => stack.test(line))
        if (!touching.length) continue
        spilt++
        console.error(
          `${compiler} ${isa} ${source}: a loop of ${loop.length} instructions, ${has(loop, multiply)} of them products, puts ${touching.length} vectors on the stack, as ${touching[0].replace(/\s+/g, ' ')}`,
        )
      }
    }
    console.log(`${compiler} ${isa}: ${tiles} loops of tiles, ${spilt} with spills`)
    if (spilt || !tiles) process.exitCode = 1
  }
}
