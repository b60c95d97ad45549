import type { Answer, AnsweredCall, Dialect } from '../types.ts'
import { refuse } from './openai-errors.ts'
import { readCompletionRequest } from './openai-request.ts'
import {
  callIdOf,
  completionId,
  createEncoder,
  finishReasonOf,
  toAnnotation,
  toSeconds,
  toUsage,
} from './openai-stream.ts'

/** OpenAI's Chat Completions API, as its official clients speak it. */
export const openai: Dialect = {
  readRequest: readCompletionRequest,
  createEncoder,
  toDocument: toCompletion,
  refuse,
  // One line without a blank one after it: some clients take any blank line for the end of an event.
  heartbeat: ':\n',
  // This API has no way to come back for the rest of a stream.
  lingerMs: 0,
}

/** A whole answer: OpenAI's API reference, "The chat completion object". Undefined when somebody stopped it. */
function toCompletion(answer: Answer): unknown {
  const { id, model, createdAt, finishReason, rawFinishReason, logprobs, usage } = answer
  if (finishReason === 'cancelled') return undefined
  const calls = answer.toolCalls?.filter(({ server }) => !server) ?? []
  const onlyOurs = calls.length === 0 && (answer.toolCalls?.length ?? 0) > 0
  const reason = onlyOurs && finishReason === 'tool-calls' ? 'stop' : finishReason
  const choice = {
    index: 0,
    message: toMessage(answer, calls),
    logprobs: logprobs ? { content: logprobs.text ?? null, refusal: logprobs.refusal ?? null } : null,
    finish_reason: finishReasonOf(reason, rawFinishReason),
  }
  return {
    id: completionId(id),
    object: 'chat.completion',
    created: toSeconds(createdAt),
    model,
    choices: [choice],
    ...(usage ? { usage: toUsage(usage) } : {}),
  }
}

function toMessage({ id, text, reasoning, refusal, sources }: Answer, calls: readonly AnsweredCall[]) {
  const silent = text === '' && (calls.length > 0 || refusal !== undefined)
  return {
    role: 'assistant',
    content: silent ? null : text,
    refusal: refusal ?? null,
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0
      ? {}
      : { tool_calls: calls.map((call, index) => toToolCall(call, callIdOf(id, index))) }),
    ...(sources === undefined ? {} : { annotations: sources.map(toAnnotation) }),
  }
}

function toToolCall({ id, name, arguments: text, extra }: AnsweredCall, missingId: string) {
  return { ...extra, id: id || missingId, type: 'function', function: { name, arguments: text } }
}
