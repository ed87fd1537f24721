import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as feynkac from '../lib/index.js'
import { commands, docstringExamples, programs, root } from './documents.js'

const run = promisify(execFile)

/** What `tsc --init` writes, but that declarations are checked too. */
const strict = {
  ...{ module: 'nodenext', target: 'esnext', types: [], declaration: true, declarationMap: true, noEmit: true },
  ...{ noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, strict: true, verbatimModuleSyntax: true },
  ...{ isolatedModules: true, noUncheckedSideEffectImports: true, moduleDetection: 'force', skipLibCheck: false },
}

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-documents-'))
  await mkdir(join(folder, 'node_modules/@types'), { recursive: true })
  // .ci/package names the package as it is installed
  await symlink(process.env.FEYNKAC_PACKAGE ?? root, join(folder, 'node_modules/feynkac'))
  await symlink(join(root, 'node_modules/@types/node'), join(folder, 'node_modules/@types/node'))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function compile(name: string, options: object): Promise<string> {
  await writeFile(join(folder, name, 'tsconfig.json'), JSON.stringify({ compilerOptions: options }))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const failed = (error: { stdout: string }) => error
  return (await run(process.execPath, [tsc, '-p', join(folder, name)]).catch(failed)).stdout
}

test('a strict project compiles every target on every model', async () => {
  await cp(join(root, 'test/consumer'), join(folder, 'consumer'), { recursive: true })
  expect(await compile('consumer', strict)).toBe('')
})

test('every example of the pages and the docstrings compiles', async () => {
  await mkdir(join(folder, 'examples'))
  const examples = [...programs(), ...docstringExamples()]
  expect(examples.length).toBeGreaterThan(20)
  for (const [i, { from, code }] of examples.entries())
    await writeFile(join(folder, 'examples', `example${i}.ts`), `// ${from}\n${code}`)
  await cp(join(root, 'examples/compose.mjs'), join(folder, 'examples/compose.mjs'))
  const inJavaScript = { allowJs: true, checkJs: true, types: ['node'], declaration: false, declarationMap: false }
  const said = await compile('examples', { ...strict, ...inJavaScript })
  expect(said.replace(/\S*example(\d+)\.ts/g, (_, i) => examples[Number(i)]!.from)).toBe('')
})

/** Examples that need no file, no training and no server. */
const cheap = ({ code }: { code: string }): boolean =>
  !/\.load\(|train|distill\(|createServer|evaluate\(|fit\(|verifyFixture|onnxFeatures|models: \{ faces/.test(code)

test('the examples that need no model run', { timeout: 300_000 }, async () => {
  const examples = [...programs(), ...docstringExamples()].filter(cheap)
  expect(examples.length).toBeGreaterThan(5)
  const script = examples.map(({ code, from }, i) => {
    const file = join(folder, `run${i}.mjs`)
    return { from, file, written: writeFile(file, code) }
  })
  await Promise.all(script.map(({ written }) => written))
  const main = `for (const { from, file } of ${JSON.stringify(script)}) await import(file).catch((error) => { console.error(from, error); process.exitCode = 1 })`
  await writeFile(join(folder, 'all.mjs'), main)
  const { stderr } = await run(process.execPath, [join(folder, 'all.mjs')], { cwd: folder }).catch((error) => error)
  expect(stderr).toBe('')
})

test('the first composition gives the numbers that its page shows', { timeout: 300_000 }, async () => {
  const page = await readFile(join(root, 'docs/start/first-composition.md'), 'utf8')
  const [first] = programs().filter(({ from }) => from.startsWith('docs/start/first-composition.md'))
  await writeFile(join(folder, 'first.mjs'), first!.code)
  const { stdout } = await run(process.execPath, [join(folder, 'first.mjs')])
  // another kind of CPU rounds differently, and particles go other ways
  const numbers = (text: string) => text.match(/-?\d+(\.\d+)?/g)!.map(Number)
  const shown = numbers(/```text\n(.*?)```/s.exec(page)![1]!)
  numbers(stdout).forEach((value, i) => {
    expect(Math.abs(value - shown[i]!)).toBeLessThan(0.25 * Math.abs(shown[i]!) + 0.15)
  })
})

/** The commands of the second tutorial on 24 pictures, with a few steps each. */
test('your own pictures: every command of the page runs', { timeout: 300_000 }, async () => {
  const work = join(folder, 'own')
  await mkdir(join(work, 'pictures'), { recursive: true })
  const labels: [string, number[]][] = []
  for (let i = 0; i < 24; i++) {
    const name = `${String(i).padStart(4, '0')}.png`
    const [colour, side] = [i % 2, (i >> 1) % 2]
    const pixels = Buffer.alloc(20 * 20 * 3)
    for (let p = 0; p < 400; p++) if (p % 20 < 10 === (side === 0)) pixels[3 * p + (colour ? 0 : 2)] = 200 + i
    await sharp(pixels, { raw: { width: 20, height: 20, channels: 3 } }).toFile(join(work, 'pictures', name))
    labels.push([name, [colour, side]])
  }
  await writeFile(join(work, 'pictures/dataset.json'), JSON.stringify({ labels }))
  await writeFile(join(work, 'pictures/attributes.json'), '{ "colour": ["blue", "red"], "side": ["left", "right"] }')
  const lines = commands('docs/start/own-pictures.md')
    .filter((line) => line.startsWith('feynkac ') && !line.startsWith('feynkac fit ')) // which its own tests run
    .map((line) =>
      line
        .replace(/--minutes \d+/, '--images 32 --batch 8 --width 8 --blocks 1')
        .replace('--images 20k', '--images 32 --width 8'),
    )
    .map((line) => line.replace(/--particles \d+/, '--particles 6 --steps 3'))
  expect(lines.length).toBeGreaterThanOrEqual(7)
  const argv = lines.map((line) => line.split(' ').slice(1))
  const main = `import { main } from ${JSON.stringify(join(root, 'dist/cli/index.js'))}
for (const argv of ${JSON.stringify(argv)}) if (await main(argv)) { console.error('FAILED', argv.join(' ')); process.exit(1) }`
  const { stderr } = await run(process.execPath, ['--input-type=module', '-e', main], { cwd: work }).catch(
    (error) => error,
  )
  expect(stderr).not.toMatch(/FAILED/)
})

test('every public function and class has an example', async () => {
  const examples = docstringExamples()
    .map(({ code }) => code)
    .join('\n')
  const without = Object.entries(feynkac)
    .filter(([name, value]) => typeof value === 'function' && !name.endsWith('Error'))
    .filter(([name]) => !new RegExp(`\\b${name}\\b`).test(examples))
    .map(([name]) => name)
  expect(without).toEqual([])
})
