/** Seeded choices: the same seed and number of an input give the same input. */
export class Random {
  #state

  constructor(seed, number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) >>> 0
    for (let i = 0; i < 4; i++) this.#next()
  }

  // splitmix32
  #next() {
    this.#state = (this.#state + 0x9e3779b9) >>> 0
    let z = this.#state
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
    return (z ^ (z >>> 16)) >>> 0
  }

  below(limit) {
    return this.#next() % Math.max(1, limit)
  }

  pick(list) {
    return list[this.below(list.length)]
  }

  bytes(count) {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)))
  }
}
