/** A table as text: columns as wide as their longest cell. */
export function printTable({
  header,
  rows,
}: {
  header: readonly string[]
  rows: readonly (readonly string[])[]
}): void {
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i].length)))
  for (const row of [header, ...rows])
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
  console.log()
}
