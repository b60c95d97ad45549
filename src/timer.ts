/** The longest a timer of JavaScript hosts can wait; a longer one would fire at once. */
const LONGEST_MS = 2 ** 31 - 1

/** `setTimeout` that takes `Infinity`, or anything above 24 days, for never. */
export function setTimer(callback: () => void, ms: number): ReturnType<typeof setTimeout> | undefined {
  return ms <= LONGEST_MS ? setTimeout(callback, ms) : undefined
}
