import { useState } from 'preact/hooks'
import type { Line, Run } from './runs.js'

/** Options of runs, side by side: what differs stands out. */

export function Options({ runs, firsts }: { runs: readonly Run[]; firsts: readonly (Line | undefined)[] }) {
  const [all, setAll] = useState(false)
  const flat = firsts.map((first) => flattened({ ...(first?.model !== undefined && { model: first.model }), ...sourcesOf(first), ...((first?.options as object) ?? {}) })) // biome-ignore format: one line
  const names = [...new Set(flat.flatMap((options) => [...options.keys()]))]
  const rows = names.map((name) => {
    const values = flat.map((options) => options.get(name) ?? '–')
    return { name, values, differs: new Set(values).size > 1 }
  })
  const several = runs.length > 1
  const shown = several && !all ? rows.filter(({ differs }) => differs) : rows
  if (rows.length === 0) return null
  return (
    <details class="card options" open={several}>
      <summary>
        Options{' '}
        {several && (
          <span class="hint">
            {rows.filter(({ differs }) => differs).length} of {rows.length} differ
          </span>
        )}
      </summary>
      {several && (
        <label>
          <input type="checkbox" checked={all} onInput={({ currentTarget }) => setAll(currentTarget.checked)} /> also
          those that are the same
        </label>
      )}
      <div class="scroll">
        <table>
          {several && (
            <thead>
              <tr>
                <th />
                {runs.map(({ id, name }, i) => (
                  <th key={id} style={{ color: `var(--series-${(i % 8) + 1})` }}>
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
          )}
          <tbody>
            {shown.map(({ name, values, differs }) => (
              <tr key={name} class={several && differs ? 'differs' : ''}>
                <th>{name}</th>
                {values.map((value, i) => (
                  <td key={runs[i]!.id}>{value}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  )
}

/** The data and the teacher by the names that they were given by. */
function sourcesOf(first: Line | undefined): object {
  const sources = first?.sources as { data?: { spec?: string } | null; teacher?: string | null } | undefined
  return sources ? { 'data given': sources.data?.spec ?? 'a data set', ...(sources.teacher && { 'teacher given': sources.teacher }) } : {} // biome-ignore format: one line
}

function flattened(value: object, prefix = ''): Map<string, string> {
  const rows = new Map<string, string>()
  for (const [name, inner] of Object.entries(value)) {
    const path = prefix + name
    if (inner === null || inner === undefined) continue
    if (typeof inner === 'object' && !Array.isArray(inner)) for (const [key, text] of flattened(inner, `${path}.`)) rows.set(key, text) // biome-ignore format: one line
    else rows.set(path, Array.isArray(inner) ? inner.map((one) => (typeof one === 'object' ? JSON.stringify(one) : String(one))).join(', ') : String(inner)) // biome-ignore format: one line
  }
  return rows
}
