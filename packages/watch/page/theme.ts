import { useEffect, useState } from 'preact/hooks'

/** Light, dark, or as the system has it. */

export type Theme = 'auto' | 'light' | 'dark'
const KEY = 'feynkac-theme'
const system = matchMedia('(prefers-color-scheme: dark)')
const listeners = new Set<() => void>()

export const chosenTheme = (): Theme => (localStorage.getItem(KEY) as Theme | null) ?? 'auto'
const shown = () => (chosenTheme() === 'auto' ? (system.matches ? 'dark' : 'light') : chosenTheme())

export function choose(theme: Theme): void {
  localStorage.setItem(KEY, theme)
  apply()
}

export function nextTheme(): void {
  const all: Theme[] = ['auto', 'light', 'dark']
  choose(all[(all.indexOf(chosenTheme()) + 1) % all.length]!)
}

function apply(): void {
  document.documentElement.dataset.theme = shown()
  for (const told of listeners) told()
}
system.addEventListener('change', apply)
apply()

/** What is shown: a component with it is drawn anew where that changes. */
export function useTheme(): string {
  const [theme, setTheme] = useState(`${chosenTheme()} ${shown()}`)
  useEffect(() => {
    const told = () => setTheme(`${chosenTheme()} ${shown()}`)
    listeners.add(told)
    return () => void listeners.delete(told)
  }, [])
  return theme
}
