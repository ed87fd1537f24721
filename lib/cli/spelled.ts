const FLAGS: Record<string, string> = {
  resize: '--resize <side>',
  channels: '--channels <1 or 3>',
  network: '--network <name>',
  attributes: '--attributes <name=value,...>',
  with: '--with <term>',
  not: '--not <term>',
  guidance: '--guidance',
  dividePrior: '--divide-prior',
}

/** The library's "give resize" in the words of the command line. */
export function spelled(text: string): string {
  return text
    .replace(/^(guidance|dividePrior)(?= needs )/, (option) => FLAGS[option]!)
    .replace(/\bgive (resize|channels|network|attributes|with|not)\b/g, (_, option: string) => `give ${FLAGS[option]}`)
    .replace(/ or channels$/, ` or ${FLAGS.channels}`)
}
