import type { Command } from 'commander'
import { verifyFixture } from '../verify/fixture.js'
import { applyThreads, type CommonOptions, common, deviceOf } from './options.js'

export function register(program: Command): void {
  common(
    program
      .command('verify')
      .description('Recompute every tensor of a fixture from its weights and inputs, and compare.')
      .argument('<files...>', 'fixture files (.safetensors)')
      .option('--all', 'list every tensor, not only the worst parameter gradient'),
    'feynkac verify fixtures/unet/ddpmpp-cond.safetensors',
  ).action(async (files: string[], options: CommonOptions & { all?: boolean }) => {
    await applyThreads(options)
    const results = []
    for (const file of files) results.push(await verifyFixture(file, deviceOf(options)))
    if (options.json) console.log(JSON.stringify(results))
    else for (const result of results) print(result, options.all ?? false)
    const failed = results.filter((r) => !r.ok)
    if (failed.length > 0) {
      const { NumericsError } = await import('../base/errors.js')
      throw new NumericsError(`${failed.map((r) => r.file).join(', ')}: outside the bounds`)
    }
  })
}

function print({ file, network, rows, ok }: Awaited<ReturnType<typeof verifyFixture>>, all: boolean): void {
  console.log(`${file} (${network})`)
  const gradients = rows.filter((r) => isGradient(r.name))
  const shown = all ? rows : rows.filter((r) => !isGradient(r.name) || !r.ok)
  for (const row of shown)
    console.log(
      `  ${row.ok ? 'ok  ' : 'FAIL'} ${row.name.padEnd(36)} ${row.error.toExponential(1)}  (bound ${row.bound.toExponential(0)})`,
    )
  if (!all && gradients.length > 0) {
    const worst = gradients.reduce((a, b) => (a.error > b.error ? a : b))
    console.log(`       ${gradients.length} parameter gradients, worst ${worst.error.toExponential(1)} (${worst.name})`)
  }
  console.log(`  ${ok ? 'passed' : 'failed'}: ${rows.filter((r) => r.ok).length} of ${rows.length} within their bounds`)
}

/** Whether it is the gradient of a parameter, also of the residual head's loss. */
function isGradient(name: string): boolean {
  return /^(residual\.)?grad\./.test(name)
}
