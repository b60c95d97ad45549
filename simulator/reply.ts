import { closing, writeAnswer, writeReasoning } from './answers.ts'
import { readPrompt } from './prompt.ts'
import type { Prompt } from './prompt.ts'
import { createRandom, hash, identifier } from './random.ts'
import { isObject } from './request.ts'
import type { ChatBody } from './request.ts'
import { exampleOf } from './schema.ts'
import { manyScripts } from './samples.ts'
import { countTokens, splitTokens } from './tokens.ts'
import { chooseCalls, forceCalls } from './tools.ts'

/** A call of a tool whose arguments arrive in pieces. */
export interface SplitCall {
  readonly id: string
  readonly name: string
  readonly arguments: readonly string[]
}

/** A whole answer, decided before its first byte leaves. */
export interface Reply {
  readonly id: string
  readonly created: number
  readonly model: string
  readonly reasoning: readonly string[]
  readonly content: readonly string[]
  readonly refusal: readonly string[]
  readonly calls: readonly SplitCall[]
  readonly finish: string
  readonly promptTokens: number
}

/** What an answer has to contain beyond what the prompt asks for, so that a fault has something to spoil. */
export type Needs = 'calls' | 'scripts'

/** What an answer depends on besides the request. */
export interface ReplyOptions {
  readonly seed: number
  readonly model: string
  readonly created: number
  readonly needs?: Needs | undefined
  /** Markdown to answer with instead of a scripted text. */
  readonly text?: string | undefined
}

/** Decides the answer to a request. The same request and options give the same answer, streamed or not. */
export function planReply(chat: ChatBody, { seed, model, created, needs, text }: ReplyOptions): Reply {
  const { raw } = chat
  const said = JSON.stringify([raw['messages'], raw['tools'], raw['tool_choice'], raw['seed']])
  const random = createRandom(hash(said) ^ Math.imul(seed, 0x9e3779b1))
  const id = `chatcmpl-sim${identifier(random, 24)}`
  const prompt = readPrompt(chat)
  const reasoning = wantsReasoning(chat, prompt) ? splitTokens(writeReasoning(prompt, random)) : []
  const calls = needs === 'calls' ? forceCalls(chat, prompt, random, 2) : chooseCalls(chat, prompt, random)
  const written =
    text ?? (needs === 'scripts' ? `${manyScripts}\n\n${closing}` : writeText(chat, prompt, random))
  const reply: Reply = {
    id,
    created,
    model,
    reasoning,
    content: calls.length > 0 ? [] : sized(cutAtStop(written, chat.stop), prompt),
    refusal: [],
    calls: calls.map((call) => ({ ...call, arguments: splitTokens(call.arguments) })),
    finish: calls.length > 0 ? 'tool_calls' : 'stop',
    promptTokens: chat.messages.reduce((sum, message) => sum + countTokens(message.text) + 4, 3),
  }
  return shorten(reply, chat.maxTokens)
}

/** Counts what the answer costs. */
export function completionTokens({ reasoning, content, refusal, calls }: Reply): number {
  const called = calls.reduce((sum, call) => sum + call.arguments.length + 1, 0)
  return reasoning.length + content.length + refusal.length + called
}

function wantsReasoning({ raw }: ChatBody, { text }: Prompt): boolean {
  const effort = raw['reasoning_effort']
  return typeof effort === 'string' ? effort !== 'none' : /\b(think|reason|reasoning)\b/i.test(text)
}

function writeText({ raw }: ChatBody, prompt: Prompt, random: () => number): string {
  const format = isObject(raw['response_format']) ? raw['response_format'] : {}
  if (format['type'] === 'json_object') {
    return JSON.stringify({ simulated: true, prompt: prompt.text, answer: 'This is a simulated answer.' })
  }
  const wrapped = isObject(format['json_schema']) ? format['json_schema'] : {}
  if (format['type'] === 'json_schema' && isObject(wrapped['schema'])) {
    return JSON.stringify(exampleOf(wrapped['schema'], prompt.text))
  }
  return writeAnswer(prompt, random)
}

function cutAtStop(text: string, stop: readonly string[]): string {
  const ends = stop.map((word) => text.indexOf(word)).filter((at) => at >= 0)
  return ends.length > 0 ? text.slice(0, Math.min(...ends)) : text
}

/** `tokens:500` in the prompt asks for an answer of exactly that length. */
function sized(text: string, { full }: Prompt): string[] {
  const tokens = splitTokens(text)
  const asked = /(?:^|\s)tokens:(\d{1,7})\b/.exec(full)
  if (!asked) return tokens
  return Array.from({ length: Number(asked[1]) }, (_, index) => tokens[index % tokens.length] ?? ' and')
}

function shorten(reply: Reply, maxTokens: number): Reply {
  if (completionTokens(reply) <= maxTokens) return reply
  let left = maxTokens
  const take = (pieces: readonly string[]): readonly string[] => {
    const taken = pieces.slice(0, left)
    left -= taken.length
    return taken
  }
  const reasoning = take(reply.reasoning)
  const content = take(reply.content)
  const calls: SplitCall[] = []
  for (const call of reply.calls) {
    if (left < 1) break
    left -= 1
    calls.push({ ...call, arguments: take(call.arguments) })
  }
  return { ...reply, reasoning, content, calls, finish: 'length' }
}
