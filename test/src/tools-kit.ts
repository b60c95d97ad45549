import { streamChat, type StreamChatOptions } from '../../src/chat.ts'
import { createToolbox, type Tool } from '../../src/tools.ts'
import type { ChatDelta, ChatRequest, UpstreamDelta } from '../../src/types.ts'
import { all, asking, type Script, script, type Step } from './kit.ts'

type Of<Type> = Extract<ChatDelta, { type: Type }>

/** JSON Schema of an object without rules. */
export const anything = { type: 'object', properties: {} }

/** A whole call in one piece. */
export function call(index: number, name: string, args = '{}', id = `c${index}`): UpstreamDelta {
  return { type: 'tool-call', index, id, name, arguments: args }
}

export const calls: UpstreamDelta = { type: 'finish', reason: 'tool-calls' }

/** A tool that gives back its arguments. */
export const echo: Tool = { name: 'echo', schema: anything, execute: (args) => args }

/** A tool of this service that does `execute`. */
export function tool(name: string, execute: NonNullable<Tool['execute']>): Tool {
  return { name, schema: anything, execute }
}

export interface Run extends Partial<Omit<StreamChatOptions, 'tools'>> {
  readonly tools?: readonly Tool[]
  readonly request?: Partial<ChatRequest>
}

export interface Told extends Script {
  readonly deltas: readonly ChatDelta[]
}

/** Everything a reply says whose model answers each request with the next script. */
export async function reply(scripts: readonly (readonly Step[])[], run: Run = {}): Promise<Told> {
  const scripted = script(...scripts)
  return { ...scripted, deltas: await all(begin(scripted, run)) }
}

/** The same, delta by delta. */
export function begin({ upstream }: Script, run: Run = {}): AsyncGenerator<ChatDelta> {
  const { tools = [echo], request, ...more } = run
  const options = { upstream, signal: new AbortController().signal, id: 'r1', now: () => 5, random: () => 0 }
  return streamChat(asking('hi', request), { ...options, tools: createToolbox(tools), ...more })
}

/** The deltas of one type. */
export function of<Type extends ChatDelta['type']>(type: Type, deltas: readonly ChatDelta[]): Of<Type>[] {
  return deltas.filter((delta): delta is Of<Type> => delta.type === type)
}

/** What a step costs. */
export function usage(inputTokens: number, outputTokens: number, more: object = {}): UpstreamDelta {
  return { type: 'usage', inputTokens, outputTokens, ...more }
}

/** The end of a step. */
export function finish(reason: 'stop' | 'length' | 'content-filter' | 'other' | 'tool-calls', raw?: string) {
  return { type: 'finish', reason, ...(raw === undefined ? {} : { raw }) } as const
}
