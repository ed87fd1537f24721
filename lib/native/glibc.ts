/** The version of glibc that this process runs with; null where there is none. The report takes some milliseconds. */
export function glibcVersion(): string | null {
  const { header } = (process.report?.getReport() ?? {}) as { header?: { glibcVersionRuntime?: string } }
  return header?.glibcVersionRuntime ?? null
}
