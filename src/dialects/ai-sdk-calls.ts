import { isDeeper } from '../request.ts'
import type { ChatDelta, Fields } from '../types.ts'
import type { UiCall, UiChunk } from './ai-sdk-chunks.ts'

type Piece = Extract<ChatDelta, { type: 'tool-call' }>
type Result = Extract<ChatDelta, { type: 'tool-result' }>

/** The calls of one reply, as chunks. */
export interface UiCalls {
  read(piece: Piece): readonly UiChunk[]
  /** Completes the call and shows what it gave; nothing for a call that nobody has seen. */
  answer(result: Result): readonly UiChunk[]
  /** Completes every call that is not. */
  complete(): readonly UiChunk[]
}

interface Call {
  /** As the model said it; results name it. */
  heard: string
  /** As the page knows it: one of its own. */
  id: string
  name: string
  text: string
  server: boolean
  extra?: Fields
  /** `unnamed`: nothing was sent. */
  stage: 'unnamed' | 'open' | 'complete' | 'answered'
}

/** Creates the calls of a reply: none yet. */
export function createUiCalls(replyId: string): UiCalls {
  const calls = new Map<number, Call>()
  /** Those that wait for a result, by both of their ids. */
  const waiting = new Map<string, Call[]>()

  function begin(call: Call, index: number): readonly UiChunk[] {
    call.id = call.heard === '' || waiting.has(call.heard) ? `${replyId}-${index}` : call.heard
    for (const id of new Set([call.heard, call.id])) {
      const others = waiting.get(id)
      if (others) others.push(call)
      else waiting.set(id, [call])
    }
    call.stage = 'open'
    return [{ type: 'tool-input-start', toolName: call.name, ...fieldsOf(call) }, ...more(call, call.text)]
  }

  function completeOne(call: Call, problem = 'The arguments are not valid JSON.'): readonly UiChunk[] {
    if (call.stage !== 'open') return []
    call.stage = 'complete'
    // The page sends it back with the call's result.
    const metadata =
      call.extra && isReadable(jsonOf(call.extra)) ? { providerMetadata: { deltarelay: call.extra } } : {}
    const fields = { toolName: call.name, ...fieldsOf(call), ...metadata }
    const input = parseInput(call.text)
    if (input !== undefined) return [{ type: 'tool-input-available', input, ...fields }]
    return [{ type: 'tool-input-error', input: call.text, errorText: problem, ...fields }]
  }

  return {
    read({ index, id = '', name = '', arguments: text, server = false, extra }) {
      let call = calls.get(index)
      if (!call)
        calls.set(index, (call = { heard: '', id: '', name: '', text: '', server, stage: 'unnamed' }))
      if (call.stage === 'complete' || call.stage === 'answered') return []
      call.text += text
      if (extra) call.extra = { ...call.extra, ...extra }
      if (call.stage === 'open') return more(call, text)
      call.heard ||= id
      call.name = name
      return name === '' ? [] : begin(call, index)
    },

    answer({ id, result, isError }) {
      const named = waiting.get(id) ?? []
      while (named[0]?.stage === 'answered') named.shift()
      const [call] = named
      if (!call) return []
      const errorText = isError ? (typeof result === 'string' ? result : jsonOf(result)) : undefined
      const before = completeOne(call, errorText)
      call.stage = 'answered'
      if (errorText === undefined) {
        return [...before, { type: 'tool-output-available', output: toOutput(result), ...fieldsOf(call) }]
      }
      // What is wrong with the input has been said with it.
      if (before[0]?.type === 'tool-input-error') return before
      return [...before, { type: 'tool-output-error', errorText, ...fieldsOf(call) }]
    },

    complete: () => [...calls.values()].flatMap((call) => completeOne(call)),
  }
}

function more({ id }: Call, text: string): readonly UiChunk[] {
  return text === '' ? [] : [{ type: 'tool-input-delta', toolCallId: id, inputTextDelta: text }]
}

function fieldsOf({ id, server }: Call): UiCall {
  return { toolCallId: id, ...(server ? { dynamic: true, providerExecuted: true } : {}) }
}

/** How deep the arguments of a call may be. */
const MAX_DEPTH = 64

/** Undefined for what is not JSON. A tool without arguments is often called with none at all. */
function parseInput(text: string): unknown {
  if (text.trim() === '') return {}
  try {
    const input: unknown = JSON.parse(text)
    // Written once more inside a frame, and read by a page: a value too deep for either stays a text.
    return !isDeeper(input, MAX_DEPTH) && isReadable(jsonOf(input)) ? input : undefined
  } catch {
    return undefined // The caller says so, with the text itself.
  }
}

function toOutput(result: unknown): unknown {
  const json = jsonOf(result)
  return isReadable(json) ? (result ?? null) : json
}

function jsonOf(value: unknown): string {
  return JSON.stringify(value ?? null)
}

/** The client refuses a frame with keys that could change a prototype: secure-json-parse.ts in @ai-sdk/provider-utils. */
function isReadable(json: string): boolean {
  return !json.includes('"__proto__":') && !(json.includes('"constructor":') && json.includes('"prototype":'))
}
