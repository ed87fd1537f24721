/** The command for the bits of a run whose images were chosen by the time: its words with `counts` (--images N) in place of --minutes. */
export function sameBits(words: readonly string[], counts: readonly string[]): string {
  const others = words.filter((word, i) => !/^--minutes(=|$)/.test(word) && words[i - 1] !== '--minutes')
  const quoted = [...others, ...counts].map((word) => (/^[\w./:=,@%+-]+$/.test(word) ? word : JSON.stringify(word)))
  return `the same bits again, whatever the time: feynkac ${quoted.join(' ')}`
}
