import type { ChatDelta, FinishReason, Usage } from '../types.ts'
import { createUiCalls, type UiCalls } from './ai-sdk-calls.ts'
import type { UiChunk } from './ai-sdk-chunks.ts'

/** Parts of a message that come in pieces. A refusal is a text with a mark. */
type Kind = 'text' | 'reasoning' | 'refusal'

const stepStart: UiChunk = { type: 'start-step' }
const stepEnd: UiChunk = { type: 'finish-step' }
const abandoned = 'The answer was ended because nobody was reading it.'

/** What the translation of a reply remembers. */
interface State {
  readonly calls: UiCalls
  readonly block?: { readonly kind: Kind; readonly id: string } | undefined
  readonly blocks?: number
  readonly sources?: number
  readonly answered?: boolean
  readonly usage?: Usage | undefined
}

/** The translation of one reply. */
export interface UiChunks {
  /** The chunks of the next delta. */
  read(delta: ChatDelta): readonly UiChunk[]
  /** A translation of its own that continues from here. */
  fork(): UiChunks
  /** Calls so far: a fork copies them. */
  readonly calls: number
  /** Characters of the arguments of calls that are not complete. */
  readonly openLength: number
}

/**
 * Creates the translation of one reply's deltas into chunks: the same deltas always give the same chunks, so that
 * a reader can go on at a chunk's index. A step begins with the answer, and again after the results of tools.
 */
export function createUiChunks(replyId: string): UiChunks {
  return uiChunks(replyId, { calls: createUiCalls(replyId) })
}

function uiChunks(replyId: string, state: State): UiChunks {
  const { calls } = state
  /** `answered`: whether tools have answered in this step. What the model says next is another one. */
  let { block, blocks = 0, sources = 0, answered = false, usage } = state

  function closeBlock(): readonly UiChunk[] {
    if (!block) return []
    const { kind, id } = block
    block = undefined
    return [{ type: kind === 'reasoning' ? 'reasoning-end' : 'text-end', id }]
  }

  function nextStep(): readonly UiChunk[] {
    if (!answered) return []
    answered = false
    return [...closeBlock(), ...calls.complete(), stepEnd, stepStart]
  }

  function piece(kind: Kind, text: string): readonly UiChunk[] {
    if (text === '') return []
    const type = kind === 'reasoning' ? 'reasoning-delta' : 'text-delta'
    if (block?.kind === kind && !answered) return [{ type, id: block.id, delta: text }]
    const before = [...nextStep(), ...closeBlock()]
    block = { kind, id: `${kind}-${++blocks}` }
    return [...before, blockStart(kind, block.id), { type, id: block.id, delta: text }]
  }

  function call(delta: Extract<ChatDelta, { type: 'tool-call' }>): readonly UiChunk[] {
    return [...nextStep(), ...closeBlock(), ...calls.read(delta)]
  }

  function result(delta: Extract<ChatDelta, { type: 'tool-result' }>): readonly UiChunk[] {
    const chunks = calls.answer(delta)
    if (chunks.length === 0) return []
    answered = true
    return [...closeBlock(), ...chunks]
  }

  function finish(reason: FinishReason): readonly UiChunk[] {
    // An answer that was cut may have been cut in a call's arguments: such a call stays as unfinished as it is.
    // For what nobody knows the reason of, that may be so too.
    const whole = reason === 'stop' || reason === 'tool-calls'
    return [
      ...closeBlock(),
      ...(whole ? calls.complete() : []),
      stepEnd,
      ...(reason === 'cancelled' ? [{ type: 'abort' } as const] : []),
      {
        type: 'finish',
        finishReason: reason === 'cancelled' ? 'other' : reason,
        ...(usage ? { messageMetadata: { usage } } : {}),
      },
    ]
  }

  // The last chunk that a client reads: what is to be known of the message comes before.
  function fail(errorText: string): readonly UiChunk[] {
    const metadata: readonly UiChunk[] = usage
      ? [{ type: 'message-metadata', messageMetadata: { usage } }]
      : []
    return [...closeBlock(), ...metadata, { type: 'error', errorText }]
  }

  function read(delta: ChatDelta): readonly UiChunk[] {
    switch (delta.type) {
      case 'start': {
        const { id, continues, model, createdAt } = delta
        return [
          { type: 'start', messageId: continues ?? id, messageMetadata: { model, createdAt } },
          stepStart,
        ]
      }
      case 'text':
      case 'reasoning':
      case 'refusal':
        return piece(delta.type, delta.text)
      case 'tool-call':
        return call(delta)
      case 'tool-result':
        return result(delta)
      case 'source': {
        const { url, title } = delta
        // A message may hold sources of several replies.
        const sourceId = `${replyId}-${++sources}`
        return [
          ...nextStep(),
          { type: 'source-url', sourceId, url, ...(title === undefined ? {} : { title }) },
        ]
      }
      case 'usage': {
        const { type: _, ...tokens } = delta
        usage = tokens
        return []
      }
      case 'finish':
        // Nobody asked for this end: to whoever comes back it is none.
        return delta.raw === 'abandoned' ? fail(abandoned) : finish(delta.reason)
      case 'error':
        return fail(delta.message)
    }
  }

  return {
    read,
    fork: () => uiChunks(replyId, { calls: calls.fork(), block, blocks, sources, answered, usage }),
    get calls() {
      return calls.size
    },
    get openLength() {
      return calls.openLength
    },
  }
}

function blockStart(kind: Kind, id: string): UiChunk {
  if (kind === 'refusal') {
    return { type: 'text-start', id, providerMetadata: { deltarelay: { refusal: true } } }
  }
  return { type: kind === 'reasoning' ? 'reasoning-start' : 'text-start', id }
}
