import { completionTokens } from './reply.ts'
import type { Reply } from './reply.ts'

/** One piece of a call of a tool, as a chunk carries it. */
export interface CallPiece {
  readonly index?: number
  readonly id?: string
  readonly type?: 'function'
  readonly function: { readonly name?: string; readonly arguments: string }
}

/** What a chunk adds to the answer. */
export interface ChunkDelta {
  readonly role?: 'assistant'
  readonly content?: string | null
  readonly refusal?: string
  readonly reasoning_content?: string
  readonly tool_calls?: readonly CallPiece[]
}

/** One chunk of a stream. */
export interface Chunk {
  readonly id: string
  readonly object: 'chat.completion.chunk'
  readonly created: number
  readonly model: string
  readonly system_fingerprint: string
  readonly choices: readonly {
    readonly index: number
    readonly delta: ChunkDelta
    readonly logprobs: null
    readonly finish_reason: string | null
  }[]
  readonly usage?: object | null
}

/** A part of a body: a chunk of a stream, or text that is written as it is: a piece, or events of another API. */
export type Frame =
  | { readonly kind: 'role' | 'token' | 'finish' | 'usage'; readonly chunk: Chunk }
  | { readonly kind: 'done' }
  | { readonly kind: 'token' | 'finish' | 'piece' | 'raw'; readonly text: string }

/** Makes a chunk of this answer. Without a delta it has no choices. */
export function chunkOf(reply: Reply, delta?: ChunkDelta, finish: string | null = null): Chunk {
  const { id, created, model } = reply
  const choices = delta ? [{ index: 0, delta, logprobs: null, finish_reason: finish }] : []
  return { id, object: 'chat.completion.chunk', created, model, system_fingerprint: 'fp_simulator', choices }
}

/** Writes the answer as the events of a stream. */
export function streamFrames(reply: Reply, includeUsage: boolean): Frame[] {
  const called = reply.calls.length > 0
  const deltas: ChunkDelta[] = [
    ...reply.reasoning.map((piece) => ({ reasoning_content: piece })),
    ...reply.content.map((piece) => ({ content: piece })),
    ...reply.refusal.map((piece) => ({ refusal: piece })),
    ...reply.calls.flatMap((call, index) => [
      {
        tool_calls: [
          { index, id: call.id, type: 'function', function: { name: call.name, arguments: '' } } as const,
        ],
      },
      ...call.arguments.map((piece) => ({ tool_calls: [{ index, function: { arguments: piece } }] })),
    ]),
  ]
  // With usage asked for, OpenAI puts `usage: null` on every chunk before the one that carries it.
  const extra = includeUsage ? { usage: null } : {}
  const make = (delta: ChunkDelta, finish?: string): Chunk => ({ ...chunkOf(reply, delta, finish), ...extra })
  return [
    { kind: 'role', chunk: make({ role: 'assistant', content: called ? null : '' }) },
    ...deltas.map((delta): Frame => ({ kind: 'token', chunk: make(delta) })),
    { kind: 'finish', chunk: make({}, reply.finish) },
    ...(includeUsage ? [usageFrame(reply)] : []),
    { kind: 'done' },
  ]
}

/** Makes the event that carries the totals. */
export function usageFrame(reply: Reply): Frame {
  return { kind: 'usage', chunk: { ...chunkOf(reply), usage: usageOf(reply) } }
}

/** Writes the answer as one JSON object. */
export function completionOf(reply: Reply): object {
  const { id, created, model, reasoning, content, refusal, calls, finish } = reply
  const message = {
    role: 'assistant',
    content: calls.length > 0 || refusal.length > 0 ? null : content.join(''),
    refusal: refusal.length > 0 ? refusal.join('') : null,
    ...(reasoning.length > 0 ? { reasoning_content: reasoning.join('') } : {}),
    ...(calls.length > 0
      ? {
          tool_calls: calls.map((call) => ({
            id: call.id,
            type: 'function',
            function: { name: call.name, arguments: call.arguments.join('') },
          })),
        }
      : {}),
    annotations: [],
  }
  const choices = [{ index: 0, message, logprobs: null, finish_reason: finish }]
  const usage = usageOf(reply)
  return { id, object: 'chat.completion', created, model, choices, usage, system_fingerprint: 'fp_simulator' }
}

/** Writes a frame as it stands on the wire. */
export function frameText(frame: Frame): string {
  if ('text' in frame) return frame.text
  return eventText(frame.kind === 'done' ? '[DONE]' : JSON.stringify(frame.chunk))
}

/** Writes an event that adds a piece to the text of the answer. */
export function chunkText(reply: Reply, content: string): string {
  return eventText(JSON.stringify(chunkOf(reply, { content })))
}

/** Writes one event. */
export function eventText(data: string): string {
  return `data: ${data}\n\n`
}

function usageOf(reply: Reply): object {
  const completion = completionTokens(reply)
  return {
    prompt_tokens: reply.promptTokens,
    completion_tokens: completion,
    total_tokens: reply.promptTokens + completion,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: reply.reasoning.length,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  }
}
