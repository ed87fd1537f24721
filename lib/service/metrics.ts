/** Counters, gauges and histograms, and the text that Prometheus reads (exposition format 0.0.4). */

type LabelValues = Readonly<Record<string, string>>

const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]

interface Family {
  type: 'counter' | 'gauge' | 'histogram'
  help: string
  values: Map<string, number>
}

export class Metrics {
  readonly #families = new Map<string, Family>()
  readonly #gauges: [string, string, () => number][] = []

  /** Adds to a counter. */
  count(name: string, help: string, by = 1, labels: LabelValues = {}): void {
    this.#add(name, 'counter', help, name, labels, by)
  }

  /** A value that is read when it is asked for. */
  gauge(name: string, help: string, read: () => number): void {
    this.#gauges.push([name, help, read])
  }

  /** One observation, in seconds. */
  observe(name: string, help: string, seconds: number, labels: LabelValues = {}): void {
    for (const le of [...SECONDS.map(String), '+Inf'])
      this.#add(name, 'histogram', help, `${name}_bucket`, { ...labels, le }, seconds <= Number(le.replace('+Inf', 'Infinity')) ? 1 : 0) // biome-ignore format: one line
    this.#add(name, 'histogram', help, `${name}_sum`, labels, seconds)
    this.#add(name, 'histogram', help, `${name}_count`, labels, 1)
  }

  text(): string {
    const lines: string[] = []
    for (const [name, { type, help, values }] of this.#families) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
      for (const [sample, value] of values) lines.push(`${sample} ${value}`)
    }
    for (const [name, help, read] of this.#gauges)
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, `${name} ${read()}`)
    return `${lines.join('\n')}\n`
  }

  #add(family: string, type: Family['type'], help: string, name: string, labels: LabelValues, by: number): void {
    const { values } = this.#families.get(family) ?? this.#families.set(family, { type, help, values: new Map() }).get(family)! // biome-ignore format: one line
    const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escaped(value)}"`)
    const sample = pairs.length > 0 ? `${name}{${pairs.join(',')}}` : name
    values.set(sample, (values.get(sample) ?? 0) + by)
  }
}

const escaped = (value: string) => value.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n')
