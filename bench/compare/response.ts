/** What one HTTP response holds, as far as it was read. */
export interface ResponseReader {
  /** 0 until the head is there. */
  readonly status: number
  readonly ended: boolean
  /** The connection can be asked again. */
  readonly reusable: boolean
  /** Gives the body that came with these bytes, as characters. */
  push(bytes: string): string
}

type State = 'head' | 'sized' | 'open' | 'size' | 'chunk' | 'trailer' | 'ended'

/** Reads one HTTP/1.1 response, cut anywhere: the least that a load client needs, for servers it knows. */
export function createResponseReader(): ResponseReader {
  let state: State = 'head'
  let rest = ''
  let status = 0
  let left = 0
  let reusable = true

  function readHead(head: string): void {
    status = Number(head.slice(9, 12))
    const fields = head.toLowerCase()
    reusable = !fields.includes('\r\nconnection: close')
    const length = /\r\ncontent-length: *(\d+)/.exec(fields)?.[1]
    if (fields.includes('\r\ntransfer-encoding: chunked')) state = 'size'
    else if (length !== undefined) [state, left] = ['sized', Number(length)]
    else [state, reusable] = ['open', false]
    if (state === 'sized' && left === 0) state = 'ended'
  }

  /** Takes what it can from `at` on; gives where it stopped, -1 when it needs more. */
  function step(at: number, body: (piece: string) => void): number {
    switch (state) {
      case 'head': {
        const end = rest.indexOf('\r\n\r\n', at)
        if (end < 0) return -1
        readHead(rest.slice(at, end))
        return end + 4
      }
      case 'size': {
        const end = rest.indexOf('\r\n', at)
        if (end < 0) return -1
        left = Number.parseInt(rest.slice(at, end), 16)
        state = left === 0 ? 'trailer' : 'chunk'
        return end + 2
      }
      case 'chunk':
      case 'sized': {
        const size = Math.min(left, rest.length - at)
        if (size === 0 && left > 0) return -1
        if (state === 'chunk' && size === left) {
          // The line break behind it belongs to it.
          if (rest.length < at + size + 2) return -1
          body(rest.slice(at, at + size))
          state = 'size'
          return at + size + 2
        }
        body(rest.slice(at, at + size))
        left -= size
        if (left === 0) state = 'ended'
        return at + size
      }
      case 'trailer': {
        const end = rest.indexOf('\r\n', at)
        if (end < 0) return -1
        if (end === at) state = 'ended'
        return end + 2
      }
      case 'open':
        if (at === rest.length) return -1
        body(rest.slice(at))
        return rest.length
      case 'ended':
        return -1
    }
  }

  return {
    get status() {
      return status
    },
    get ended() {
      return state === 'ended'
    },
    get reusable() {
      return reusable
    },
    push(bytes) {
      rest = rest === '' ? bytes : rest + bytes
      let text = ''
      let at = 0
      const body = (piece: string): void => void (text += piece)
      for (let next; (next = step(at, body)) >= 0;) at = next
      rest = rest.slice(at)
      return text
    },
  }
}
