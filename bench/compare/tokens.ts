/** What a model is asked for, as the JSON text of a prompt: it reaches the model through whatever is measured. */
export interface Order {
  readonly events: number
  /** From one write to the next; 0 writes as fast as the connection takes it. */
  readonly everyMs: number
  /** Tokens of one write. Default 1. */
  readonly group?: number | undefined
  /** The model keeps when it wrote each token, under this name. */
  readonly trace?: string | undefined
}

/** Times on the wire are microseconds of the clock that all processes of a machine share, to so many digits. */
const WRAP = 1e9

/** Microseconds of that clock. */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return (seconds % 1000) * 1e6 + Math.floor(nanoseconds / 1000)
}

/** From one moment to a later one, in milliseconds. */
export function elapsedMs(fromUs: number, toUs: number): number {
  return ((toUs - fromUs + WRAP) % WRAP) / 1000
}

/** One token: its number, and when it was written. */
export function tokenOf(seq: number, atUs: number): string {
  return `${seq}@${atUs},`
}

/** Ends every text: the sum of all times, so that none can be wrong, then what has to survive encoding. */
export function closing(sum: number): string {
  return `=${sum % WRAP} é 日本 🙂 "\\\n`
}

/** UTF-8 bytes as characters: the harness never decodes, it compares bytes. */
export function toBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

/** Reads one text as it arrives. */
export interface Checker {
  /** Tokens seen. */
  readonly count: number
  /** Calls `onToken` with the time each was written. @throws when it is not what was sent. */
  take(bytes: string, onToken?: (atUs: number) => void): void
  /** What is wrong with the text as a whole, if it is over. */
  problem(): string | undefined
}

/** Checks that a text is exactly the one that was ordered; `take` gets its UTF-8 bytes, cut anywhere. */
export function createChecker(events: number): Checker {
  let count = 0
  let sum = 0
  let rest = ''
  return {
    get count() {
      return count
    },
    take(bytes, onToken) {
      rest = rest === '' ? bytes : rest + bytes
      let at = 0
      for (let comma; count < events && (comma = rest.indexOf(',', at)) >= 0; at = comma + 1) {
        const mark = rest.indexOf('@', at)
        const atUs = wholeNumber(rest, mark + 1, comma)
        if (wholeNumber(rest, at, mark) !== count + 1 || Number.isNaN(atUs)) {
          throw new Error(`Token ${count + 1} is ${JSON.stringify(rest.slice(at, comma + 1))}.`)
        }
        count++
        sum += atUs
        onToken?.(atUs)
      }
      rest = rest.slice(at)
    },
    problem() {
      if (count < events) return `The text has ${count} of ${events} tokens, then ${JSON.stringify(rest)}.`
      const expected = toBytes(closing(sum))
      return rest === expected ? undefined : `The text ends with ${JSON.stringify(rest)}, not ${expected}.`
    },
  }
}

/** `NaN` unless it is all digits, and as they are written. */
function wholeNumber(text: string, from: number, to: number): number {
  if (to <= from || (to > from + 1 && text.charCodeAt(from) === 48)) return Number.NaN
  let number = 0
  for (let at = from; at < to; at++) {
    const digit = text.charCodeAt(at) - 48
    if (digit < 0 || digit > 9) return Number.NaN
    number = number * 10 + digit
  }
  return number
}
