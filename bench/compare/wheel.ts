/** Calls back at many moments, to the millisecond, with one timer for all of them. */
export interface Wheel {
  /** Later by less than `SLOTS`; what is late already is due next. */
  at(dueMs: number, callback: () => void): void
}

const SLOTS = 16_384

/** Moments are those of `performance.now()`. The timer runs only while somebody waits. */
export function createWheel(): Wheel {
  const slots: (() => void)[][] = Array.from({ length: SLOTS }, () => [])
  let turned = 0
  let waiting = 0
  let timer: NodeJS.Timeout | undefined

  function turn(): void {
    const now = Math.floor(performance.now())
    while (turned < now) {
      const slot = ++turned % SLOTS
      const due = slots[slot]!
      if (due.length === 0) continue
      slots[slot] = []
      waiting -= due.length
      for (const callback of due) callback()
    }
    timer = waiting > 0 ? setTimeout(turn, 1) : undefined
  }

  return {
    at(dueMs, callback) {
      timer ??= start()
      slots[Math.max(turned + 1, Math.ceil(dueMs)) % SLOTS]!.push(callback)
      waiting++
    },
  }

  function start(): NodeJS.Timeout {
    turned = Math.floor(performance.now())
    return setTimeout(turn, 1)
  }
}
