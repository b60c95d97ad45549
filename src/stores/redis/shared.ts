/** One run of `work` at a time for each key: who comes while it runs gets the same result. */
export function shared<T>(work: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const running = new Map<string, Promise<T>>()
  return (key) => {
    const known = running.get(key)
    if (known) return known
    const run = work(key).finally(() => running.delete(key))
    running.set(key, run)
    return run
  }
}

/** Waits for a promise that does not reject, but no longer than `ms`. */
export async function limitedWait(work: Promise<void> | undefined, ms: number): Promise<void> {
  if (!work) return
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))
  await Promise.race([work, late])
  clearTimeout(timer)
}
