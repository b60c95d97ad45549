import { isReadable, jsonOf, parseInput } from '../call-input.ts'
import { createText, type GrowingText } from '../text.ts'
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
  /** The same calls, for another translation that continues from here. */
  fork(): UiCalls
  readonly size: number
  /** Characters of the arguments of calls that are not complete. */
  readonly openLength: number
}

/** What the page is told of a call that it cannot run. */
export const invalidInput = 'The arguments are not valid JSON.'

interface Call {
  /** As the model said it; results name it. */
  heard: string
  /** As the page knows it: one of its own. */
  id: string
  name: string
  text: GrowingText
  server: boolean
  extra?: Fields
  signature?: string
  /** `unnamed`: nothing was sent. */
  stage: 'unnamed' | 'open' | 'complete' | 'answered'
}

interface Known {
  readonly calls: Map<number, Call>
  /** Those that wait for a result, by both of their ids. */
  readonly waiting: Map<string, Call[]>
}

/** Creates the calls of a reply: none yet. */
export function createUiCalls(replyId: string): UiCalls {
  return uiCalls(replyId, { calls: new Map(), waiting: new Map() })
}

function uiCalls(replyId: string, known: Known): UiCalls {
  const { calls, waiting } = known

  function begin(call: Call, index: number): readonly UiChunk[] {
    call.id = call.heard === '' || waiting.has(call.heard) ? `${replyId}-${index}` : call.heard
    for (const id of new Set([call.heard, call.id])) {
      const others = waiting.get(id)
      if (others) others.push(call)
      else waiting.set(id, [call])
    }
    call.stage = 'open'
    return [
      { type: 'tool-input-start', toolName: call.name, ...fieldsOf(call) },
      ...more(call, call.text.whole()),
    ]
  }

  function completeOne(call: Call, problem = invalidInput): readonly UiChunk[] {
    if (call.stage !== 'open') return []
    call.stage = 'complete'
    // The page sends it back with the call's result.
    const fields = { toolName: call.name, ...fieldsOf(call), ...metadataOf(call) }
    const text = call.text.whole()
    const input = parseInput(text)
    // Nothing reads them again.
    call.text = createText()
    delete call.extra
    if (input !== undefined) return [{ type: 'tool-input-available', input, ...fields }]
    return [{ type: 'tool-input-error', input: text, errorText: problem, ...fields }]
  }

  return {
    read({ index, id = '', name = '', arguments: text, server = false, extra, signature }) {
      let call = calls.get(index)
      if (!call)
        calls.set(
          index,
          (call = { heard: '', id: '', name: '', text: createText(), server, stage: 'unnamed' }),
        )
      if (call.stage === 'complete' || call.stage === 'answered') return []
      call.text.add(text)
      if (extra) call.extra = { ...call.extra, ...extra }
      if (signature !== undefined) call.signature = signature
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

    fork: () => uiCalls(replyId, copyOf(known)),

    get size() {
      return calls.size
    },

    get openLength() {
      return [...calls.values()].reduce((sum, { text }) => sum + text.whole().length, 0)
    },
  }
}

function copyOf({ calls, waiting }: Known): Known {
  const copies = new Map([...calls.values()].map((call) => [call, { ...call, text: copyOfText(call.text) }]))
  return {
    calls: new Map([...calls].map(([index, call]) => [index, copies.get(call)!])),
    waiting: new Map([...waiting].map(([id, named]) => [id, named.map((call) => copies.get(call)!)])),
  }
}

function copyOfText(text: GrowingText): GrowingText {
  const copy = createText()
  copy.add(text.whole())
  return copy
}

function more({ id }: Call, text: string): readonly UiChunk[] {
  return text === '' ? [] : [{ type: 'tool-input-delta', toolCallId: id, inputTextDelta: text }]
}

function metadataOf({ extra, signature }: Call) {
  const kept = extra && isReadable(jsonOf(extra)) ? extra : undefined
  if (!kept && signature === undefined) return {}
  return { providerMetadata: { deltarelay: { ...kept, ...(signature === undefined ? {} : { signature }) } } }
}

function fieldsOf({ id, server }: Call): UiCall {
  return { toolCallId: id, ...(server ? { dynamic: true, providerExecuted: true } : {}) }
}

function toOutput(result: unknown): unknown {
  const json = jsonOf(result)
  return isReadable(json) ? (result ?? null) : json
}
