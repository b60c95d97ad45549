import { bytesOfValue } from './memory.ts'
import { createText, type GrowingText } from './text.ts'
import type { Answer, AnsweredCall, ChatDelta, FinishReason, Mutable, Usage } from './types.ts'

/** An answer as far as it has come: everything of a whole one, and how it ended, if it did. */
export type PartialAnswer = Omit<Answer, 'finishReason'> & { readonly finishReason?: FinishReason }

/** Puts an answer together, delta by delta. */
export interface Collector {
  add(delta: ChatDelta): void
  /** What there is by now; undefined before `start`. */
  readonly answer: PartialAnswer | undefined
}

/** A call whose arguments still grow. */
type OpenCall = Omit<Mutable<AnsweredCall>, 'arguments'> & { readonly text: GrowingText }

/**
 * Creates a collector that has no deltas yet. `onHold`: receives how many bytes more it takes in memory; what it throws,
 * `add` throws.
 */
export function createCollector(onHold?: (bytes: number) => void): Collector {
  const texts = { text: createText(onHold), reasoning: createText(onHold), refusal: createText(onHold) }
  const logprobs: { text?: unknown[]; refusal?: unknown[] } = {}
  const calls: OpenCall[] = []
  const sources: { url: string; title?: string }[] = []
  let head: Pick<Answer, 'id' | 'model' | 'createdAt'> | undefined
  let usage: Usage | undefined
  let end: Pick<Answer, 'finishReason' | 'rawFinishReason'> | undefined

  function addCall(delta: Extract<ChatDelta, { type: 'tool-call' }>): void {
    const call = (calls[delta.index] ??= { id: '', name: '', text: createText(onHold) })
    call.id ||= delta.id ?? ''
    call.name ||= delta.name ?? ''
    call.text.add(delta.arguments)
    if (delta.server) call.server = true
    if (delta.extra) call.extra = { ...call.extra, ...delta.extra }
  }

  function addResult({ id, result, isError }: Extract<ChatDelta, { type: 'tool-result' }>): void {
    const call = calls.find((candidate) => candidate?.id === id && !('result' in candidate))
    if (call) Object.assign(call, { result }, isError ? { isError } : {})
  }

  function add(delta: ChatDelta): void {
    switch (delta.type) {
      case 'start': {
        const { id, model, createdAt } = delta
        head = { id, model, createdAt }
        break
      }
      case 'text':
      case 'refusal':
        // One by one: as arguments of one call, a long list would not fit on the stack.
        for (const logprob of delta.logprobs ?? []) (logprobs[delta.type] ??= []).push(logprob)
        if (delta.logprobs) onHold?.(bytesOfValue(delta.logprobs))
        texts[delta.type].add(delta.text)
        break
      case 'reasoning':
        texts.reasoning.add(delta.text)
        break
      case 'tool-call':
        addCall(delta)
        break
      case 'tool-result':
        addResult(delta)
        onHold?.(bytesOfValue(delta.result))
        break
      case 'source': {
        const { type: _, ...source } = delta
        sources.push(source)
        onHold?.(bytesOfValue(source))
        break
      }
      case 'usage': {
        const { type: _, ...rest } = delta
        usage = rest
        break
      }
      case 'finish':
        end = { finishReason: delta.reason, ...(delta.raw ? { rawFinishReason: delta.raw } : {}) }
        break
      case 'error':
        end = undefined
        break
    }
  }

  return {
    add,
    get answer() {
      if (!head) return undefined
      const reasoning = texts.reasoning.whole()
      const refusal = texts.refusal.whole()
      return {
        ...head,
        text: texts.text.whole(),
        ...(reasoning ? { reasoning } : {}),
        ...(refusal ? { refusal } : {}),
        ...(calls.length > 0 ? { toolCalls: calls.filter(Boolean).map(closed) } : {}),
        ...(sources.length > 0 ? { sources } : {}),
        ...(logprobs.text || logprobs.refusal ? { logprobs } : {}),
        ...(usage ? { usage } : {}),
        ...end,
      }
    },
  }
}

function closed({ id, name, text, ...rest }: OpenCall): AnsweredCall {
  return { id, name, arguments: text.whole(), ...rest }
}

/** What became of a reply: its whole answer, or the `error` it ended with; neither when it was left or not finished. */
export interface Collected {
  readonly answer?: Answer | undefined
  readonly error?: Extract<ChatDelta, { type: 'error' }> | undefined
}

/**
 * Joins the deltas of a reply. An answer that did not `finish` is not whole, and not given. `onHold` is that of
 * `createCollector`.
 */
export async function collect(
  batches: AsyncIterable<readonly ChatDelta[]>,
  onHold?: (bytes: number) => void,
): Promise<Collected> {
  const collector = createCollector(onHold)
  let error: Collected['error']
  for await (const batch of batches) {
    for (const delta of batch) {
      collector.add(delta)
      if (delta.type === 'error') error = delta
    }
  }
  const { finishReason, ...rest } = collector.answer ?? {}
  return { error, answer: finishReason && { ...(rest as Answer), finishReason } } // it finished, so it has begun
}
