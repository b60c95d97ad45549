import { createText, type GrowingText } from './text.ts'
import type { Fields, ToolCall, UpstreamDelta } from './types.ts'

/** One piece of a call. */
export type CallPiece = Extract<UpstreamDelta, { type: 'tool-call' }>

/** A call with all its pieces, and whether this service answers it. */
export interface HeardCall extends ToolCall {
  /** Counted through the whole reply. */
  readonly index: number
  readonly server: boolean
}

/** The calls of one reply: counted through all its steps, each with an id of its own. */
export interface Calls {
  /**
   * Reads a piece of this step. Gives it as it is passed on: the first one of a call has id and name. Undefined
   * as long as the name is not known; what came until then is in the first piece.
   */
  read(piece: CallPiece): CallPiece | undefined
  /** The calls of this step, whole; the next piece is of the next step. */
  take(): readonly HeardCall[]
}

/** Characters of an id: servers refuse longer ones, also when they come from their own model. */
const MAX_ID = 64

/** Characters that are held of a call without a name. */
const MAX_NAMELESS = 65_536

interface OpenCall {
  index: number
  id: string
  name: string
  /** How many characters of arguments it has. */
  length: number
  readonly text: GrowingText
  extra?: Fields
  server: boolean
}

export interface CallsOptions {
  /** Whether this service answers calls of that name. */
  readonly isServer: (name: string) => boolean
  /** Ids of earlier calls in the conversation. */
  readonly taken?: Iterable<string> | undefined
  /** Receives how many bytes more of memory the calls take. */
  readonly onHold?: ((bytes: number) => void) | undefined
}

/** Creates the calls of a reply. */
export function createCalls(replyId: string, { isServer, taken = [], onHold }: CallsOptions): Calls {
  const ids = new Set(taken)
  let step = new Map<number, OpenCall>()
  let count = 0

  function begin(call: OpenCall): CallPiece {
    call.index = count++
    // Some servers give every call the same id, or none. Its length is what OpenAI's API takes (40) at most.
    const usable = call.id !== '' && call.id.length <= MAX_ID && !ids.has(call.id)
    if (!usable) call.id = `call_${replyId.slice(-24)}_${call.index}`
    ids.add(call.id)
    call.server = isServer(call.name)
    const { index, id, name, extra } = call
    const text = call.text.whole()
    const more = { ...(extra ? { extra } : {}), ...(call.server ? { server: true as const } : {}) }
    return { type: 'tool-call', index, id, name, arguments: text, ...more }
  }

  return {
    read({ index: position, id = '', name = '', arguments: text, extra }) {
      let call = step.get(position)
      if (!call) {
        call = { index: -1, id, name: '', length: 0, text: createText(onHold), server: false }
        step.set(position, call)
      }
      // Whoever calls nobody for so long has nobody to call.
      if (call.index >= 0 || call.length < MAX_NAMELESS) {
        call.text.add(text)
        call.length += text.length
      }
      if (extra) call.extra = { ...call.extra, ...extra }
      if (call.index >= 0) {
        return { type: 'tool-call', index: call.index, arguments: text, ...(extra ? { extra } : {}) }
      }
      call.id ||= id
      call.name = name
      return name === '' ? undefined : begin(call)
    },
    take() {
      const heard = [...step.values()]
        .filter(({ index }) => index >= 0)
        .map(({ index, id, name, text, extra, server }) => {
          return { index, id, name, arguments: text.whole(), server, ...(extra ? { extra } : {}) }
        })
      step = new Map()
      return heard
    },
  }
}
