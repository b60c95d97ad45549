import type { ChatError } from '../errors.ts'
import type { FinishReason, Mutable, UpstreamDelta } from '../types.ts'
import { failureInStream, failureOfReport } from './failure.ts'
import type { EventReader } from './reader.ts'
import { createItemBook } from './responses-items.ts'
import { toUsage } from './usage.ts'
import { fields, isBlank, word } from './json.ts'

const incompleteReasons: Readonly<Record<string, FinishReason>> = {
  max_output_tokens: 'length',
  content_filter: 'content-filter',
}

/**
 * Creates a reader for one answer of the Responses API. Shapes: OpenAI's API reference, "Streaming events". An event
 * counts by its `type`, or by the name of its frame where it has none; types that are not known are ignored.
 */
export function createResponsesReader(): EventReader {
  const items = createItemBook()
  const { calls } = items

  function read(value: unknown, out: UpstreamDelta[], name?: string): void {
    const event = fields(value)
    if (!event) return
    const type = word(event['type']) ?? name
    if (type?.startsWith('response.')) reader.progress++
    switch (type) {
      case 'response.output_text.delta':
        return items.say('text', event, event['delta'], out)
      case 'response.reasoning_summary_text.delta':
        return items.say('summary', event, event['delta'], out)
      case 'response.reasoning_text.delta':
      case 'response.reasoning.delta': // its older name
        return items.say('reasoning', event, event['delta'], out)
      case 'response.refusal.delta':
        return items.say('refusal', event, event['delta'], out)
      case 'response.function_call_arguments.delta':
      case 'response.custom_tool_call_input.delta':
        return calls.argue(event, event['delta'], out)
      case 'response.output_item.added':
        return calls.open(event, out)
      // What follows repeats the deltas; it counts where there were none, or not all.
      case 'response.output_text.done':
        return items.complete('text', event, event['text'], out)
      case 'response.reasoning_summary_text.done':
        return items.complete('summary', event, event['text'], out)
      case 'response.reasoning_text.done':
      case 'response.reasoning.done':
        return items.complete('reasoning', event, event['text'], out)
      case 'response.refusal.done':
        return items.complete('refusal', event, event['refusal'], out)
      case 'response.function_call_arguments.done':
        return calls.complete(event, event['arguments'], out)
      case 'response.custom_tool_call_input.done':
        return calls.complete(event, event['input'], out)
      case 'response.reasoning_summary_part.done':
        return items.complete('summary', event, fields(event['part'])?.['text'], out)
      case 'response.content_part.done':
        return items.completePart(event, event['part'], out)
      case 'response.output_item.done':
        return items.completeItem(event, event['item'], out)
      case 'response.output_text.annotation.added':
        return items.cite(event['annotation'], out)
      case 'response.completed':
      case 'response.incomplete':
        return end(type, fields(event['response']) ?? {}, out)
      case 'response.failed':
      case 'response.cancelled':
        throw failureOf(fields(event['response'])?.['error'])
      case 'error':
        throw failureOf(event['error'] ?? event)
      case undefined: {
        const failure = failureInStream(event)
        if (failure) throw failure
      }
    }
  }

  function end(type: string, response: Readonly<Record<string, unknown>>, out: UpstreamDelta[]): void {
    items.completeAll(response['output'], out)
    calls.flush(out)
    if (!isBlank(response['error']) || /^(?:failed|cancelled)$/.test(word(response['status']) ?? ''))
      throw failureOf(response['error'])
    reader.usage = toUsage(response['usage']) ?? reader.usage
    const reason = word(fields(response['incomplete_details'])?.['reason'])
    reader.finish = type === 'response.completed' && !reason ? whole() : incomplete(reason ?? 'incomplete')
    reader.done = true
  }

  function whole(): EventReader['finish'] {
    return { type: 'finish', reason: calls.count > 0 ? 'tool-calls' : 'stop' }
  }

  const reader: Mutable<Required<EventReader>> = {
    read,
    flush: calls.flush,
    holding: false,
    progress: 0,
    finish: undefined,
    usage: undefined,
    done: false,
  }
  return reader
}

function incomplete(raw: string): EventReader['finish'] {
  const known = Object.hasOwn(incompleteReasons, raw) ? incompleteReasons[raw] : undefined
  return known ? { type: 'finish', reason: known } : { type: 'finish', reason: 'other', raw }
}

/** Codes that say the request is at fault: to ask again would not help. */
const faults =
  /invalid|unsupported|image|policy|residency|context_length|not_found|missing_required|unknown_parameter/

// These reports have a code, and often no type that would say whose fault it is.
function failureOf(report: unknown): ChatError {
  const error = fields(report)
  const code = word(error?.['code'])
  const fault = code !== undefined && faults.test(code)
  return failureOfReport(fault ? { ...error, type: 'invalid_request_error' } : report)
}
