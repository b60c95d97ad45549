/** Texts above this many characters are handled in slices, with other work in between. */
export const LARGE = 256 * 1024
/** Characters of one slice: a few milliseconds even of the slowest kind of work. */
export const SLICE = 64 * 1024
/** How long one task may keep the event loop, in milliseconds, where it can be cut. */
const TURN_MS = 8

/** Lets whatever else is due run: timers, sockets, other requests. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0))
}

/** Creates a function to be called after each slice: it pauses when the last pause was too long ago. */
export function createPacer(): () => Promise<void> | undefined {
  let began = performance.now()
  return () => {
    if (performance.now() - began < TURN_MS) return undefined
    return pause().then(() => {
      began = performance.now()
    })
  }
}

/** Where a slice of `text` that begins at `from` ends, so that it cuts no character in two. */
export function sliceEnd(text: string, from: number): number {
  const end = from + SLICE
  if (end >= text.length) return text.length
  const last = text.charCodeAt(end - 1)
  return last >= 0xd800 && last < 0xdc00 ? end - 1 : end
}
