// What else the machine did during a measurement: processor time of its cores that neither this process nor its children used.
import { readFileSync } from 'node:fs'
import os from 'node:os'

/** Above this share of the machine's processor time in other hands, times are not to be compared. */
export const MOST_LOAD = 0.05

/** Seconds that the cores have worked since the machine started, the ones stolen by its host among them. */
function busy() {
  if (process.platform === 'linux') {
    const [user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'utf8')
      .split('\n', 1)[0]
      .trim()
      .split(/\s+/)
      .slice(1)
      .map(Number)
    return (user + nice + system + irq + softirq + steal) / 100
  }
  return os.cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0) / 1000
}

function own() {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/**
 * Starts to watch. The function that it returns gives the share of the machine's processor time since then that others took, from 0 to 1; it is
 * told how many seconds of processor time this process's children took meanwhile.
 */
export function watchLoad() {
  const start = { busy: busy(), own: own(), time: performance.now() }
  return (children = 0) => {
    const others = busy() - start.busy - (own() - start.own) - children
    return Math.max(0, others / (((performance.now() - start.time) / 1000) * os.cpus().length))
  }
}

/** The processor's name, and on Linux its family, model and stepping: virtual machines hide the name. */
export function cpuName() {
  const name = os.cpus()[0].model.trim()
  if (process.platform !== 'linux') return name
  const info = readFileSync('/proc/cpuinfo', 'utf8')
  const field = (key) => info.match(new RegExp(`^${key}\\s*: (.*)$`, 'm'))?.[1]
  return field('cpu family')
    ? `${name}, family ${field('cpu family')} model ${field('model')} stepping ${field('stepping')}`
    : name
}
