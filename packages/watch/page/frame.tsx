import type { ComponentChildren, FunctionComponent } from 'preact'
import { Notices } from './parts.js'
import type { Series } from './plot.js'
import { Previews } from './previews.js'
import { type Line, numberOf, type Shown } from './runs.js'

/** What is shown of runs of one kind, one or several side by side: where it is, what went wrong, plots, and beside them what is seen. */

interface FrameProps {
  shown: readonly Shown[]
  /** Where a run is that is shown alone. */
  summary: FunctionComponent<Shown>
  /** What went wrong, of a run's lines. */
  troubleOf(lines: readonly Line[]): string[]
  /** Over the previews of a run that is shown alone. */
  title: string
  /** The words for a preview's place. */
  at(line: Line): string
  /** Below the previews. */
  beside?: ComponentChildren
  children: ComponentChildren
}

export function Frame({ shown, summary: Summary, troubleOf, title, at, beside, children }: FrameProps) {
  const one = onlyOne(shown)
  return (
    <>
      {one && <Summary {...one} />}
      {shown.map(({ run, log }) => (
        <Notices key={run.id} name={one ? undefined : run.name} all={troubleOf(log.lines)} />
      ))}
      <div class="grid">
        <div class="charts">{children}</div>
        <div class="side">
          {shown.map(({ run, log, color }) => (
            <Previews
              key={run.id}
              run={run}
              log={log}
              color={one ? undefined : color}
              title={one ? title : run.name}
              at={at}
            />
          ))}
          {beside}
        </div>
      </div>
    </>
  )
}

export const onlyOne = (shown: readonly Shown[]): Shown | undefined => (shown.length === 1 ? shown[0] : undefined)

/** [x, y] of the lines that have both. */
export function pointsOf(lines: readonly Line[], x: string, y: string, of = (value: number) => value) {
  return lines.flatMap((line): [number, number][] => {
    const [at, value] = [numberOf(line, x), numberOf(line, y)]
    return at === null || value === null ? [] : [[at, of(value)]]
  })
}

/** A line of every run; of one alone by what it is, else by the run. */
export function seriesOf(
  shown: readonly Shown[],
  label: string,
  points: (item: Shown) => Series['points'],
  own: Partial<Series> = {},
): Series[] {
  const one = onlyOne(shown)
  return shown.map((item) => ({ label: one ? label : `${item.run.name}${own.dashed ? `, ${label}` : ''}`, color: item.color, points: points(item), ...own })) // biome-ignore format: one line
}
