import type { Reporter, SerializedError, TestModule } from 'vitest/node'

/** Ends a run with one plain line, for programs and logs: what was executed, what failed, what was left out. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 }
    let errors = unhandled.length
    for (const module of modules) {
      errors += module.errors().length
      for (const test of module.children.allTests()) count[test.result().state]++
    }
    const parts = [`${count.passed} passed`, `${count.failed} failed`, `${count.skipped} skipped`]
    if (count.pending) parts.push(`${count.pending} not run`)
    if (errors) parts.push(`${errors} errors outside tests`)
    // after every other reporter has had its say
    process.once('exit', () => process.stdout.write(`tests: ${parts.join(', ')}\n`))
  }
}
