/**
 * Runs tasks side by side and gives what each one makes as soon as it is there. Ends early when `signal` aborts,
 * and then waits for nobody. Their own signal aborts with it, and when the reader leaves. A task must not reject.
 */
export async function* race<T extends object>(
  tasks: readonly ((signal: AbortSignal) => Promise<T>)[],
  signal: AbortSignal,
): AsyncGenerator<T> {
  if (signal.aborted) return
  const controller = new AbortController()
  const ready: T[] = []
  let wake = (): void => {}
  const stop = (): void => {
    controller.abort(signal.reason)
    wake()
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    for (const task of tasks) {
      void task(controller.signal).then((made) => {
        ready.push(made)
        wake()
      })
    }
    for (let left = tasks.length; left > 0; left--) {
      while (ready.length === 0 && !signal.aborted) await new Promise<void>((resolve) => (wake = resolve))
      const [made] = ready.splice(0, 1)
      if (signal.aborted || made === undefined) return
      yield made
    }
  } finally {
    signal.removeEventListener('abort', stop)
    controller.abort()
  }
}
