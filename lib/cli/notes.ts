/** What is said above a progress bar, and said again after the result, as a terminal may have scrolled it away. */

const lines: string[] = []

/** Remembers a line. */
export function noted(line: string): void {
  lines.push(line)
}

/** Says the warnings among them again, each once. */
export function repeatWarnings(): void {
  const warnings = new Set(lines.splice(0).filter((line) => line.startsWith('warning:')))
  for (const line of warnings) process.stderr.write(`${wrapped(line)}\n`)
}

/** A long line cut at words to the width of the terminal, the rest indented. */
export function wrapped(line: string, width = process.stderr.columns ?? 80): string {
  const cut: string[] = []
  let current = ''
  for (const word of line.split(' ')) {
    const longer = current === '' ? word : `${current} ${word}`
    if (longer.length > width && current.trim() !== '') {
      cut.push(current)
      current = `  ${word}`
    } else current = longer
  }
  return [...cut, current].join('\n')
}
