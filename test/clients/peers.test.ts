import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import type { AIMessageChunk } from '@langchain/core/messages'
import { ChatOpenAI } from '@langchain/openai'
import { streamText } from 'ai'
import OpenAI from 'openai'
import { describe, expect, test, vi } from 'vitest'
import { type Recording, readRecordings } from '../hosts/recordings.ts'
import { fetchOf, serviceOver } from './in-process.ts'
import { type Heard, heardCompletion, plain, readers } from './readers.ts'

const streams = (await readRecordings()).filter(({ status }) => status === 200)
const answers = streams.filter(({ expected }) => expected.errors.length === 0)
const failures = streams.filter(({ expected }) => expected.errors.length > 0)

/** Asks as a program does that has this and nothing else between itself and the model's server. */
type Peer = (upstream: typeof fetch) => Promise<Heard>

interface Counted {
  readonly input_tokens: number
  readonly output_tokens: number
  readonly total_tokens: number
}

const baseURL = 'http://upstream.test/v1'
const messages = [{ role: 'user' as const, content: 'Hi' }]

// Versions as in package.json; each as its own documentation has it.
const peers: Readonly<Record<string, Peer>> = {
  'the AI SDK, server and client': (upstream) => {
    const model = createOpenAICompatible({ name: 'peer', baseURL, fetch: upstream, includeUsage: true })('m')
    return readers['ai 7']!(async () =>
      streamText({ model, messages, maxRetries: 0, onError: () => {} }).toUIMessageStreamResponse({
        sendReasoning: true,
        messageMetadata: ({ part }) =>
          part.type === 'finish'
            ? {
                usage: {
                  inputTokens: part.totalUsage.inputTokens,
                  outputTokens: part.totalUsage.outputTokens,
                },
              }
            : undefined,
      }),
    )
  },
  LangChain: async (upstream) => {
    const model = new ChatOpenAI({
      model: 'm',
      apiKey: 'none',
      maxRetries: 0,
      configuration: { baseURL, fetch: upstream },
    })
    const stream = await model.stream('Hi')
    const chunks: AIMessageChunk[] = []
    for await (const chunk of stream) chunks.push(chunk)
    const all = chunks.length > 0 ? chunks.reduce((joined, chunk) => joined.concat(chunk)) : undefined
    const usage = all?.usage_metadata as Counted | undefined // declared as what depends on the kind of message
    const reason = all?.response_metadata['finish_reason'] as string | undefined
    return {
      text: all?.text ?? '',
      reasoning: String(all?.additional_kwargs['reasoning_content'] ?? ''),
      refusal: String(all?.additional_kwargs['refusal'] ?? ''),
      toolCalls: (all?.tool_calls ?? []).map(({ id = '', name, args }) => ({
        id,
        name,
        arguments: JSON.stringify(args),
      })),
      finishReason: reason ?? null,
      usage: usage
        ? { prompt: usage.input_tokens, completion: usage.output_tokens, total: usage.total_tokens }
        : null,
    }
  },
  "openai's stream helper": async (upstream) => {
    const client = new OpenAI({ baseURL, apiKey: 'none', fetch: upstream, maxRetries: 0 })
    const params = { model: 'm', messages, stream_options: { include_usage: true } }
    return heardCompletion(await client.chat.completions.stream(params).finalChatCompletion())
  },
  'this service, to its own events': (upstream) => readers['our own events']!(through(upstream)),
  "this service, to openai's client": (upstream) => readers['openai, chunk by chunk']!(through(upstream)),
  'this service, to the AI SDK': (upstream) => readers['ai 7']!(through(upstream)),
}

function through(upstream: typeof fetch): typeof fetch {
  return fetchOf(serviceOver(upstream))
}

function sending({ contentType }: Recording, bytes: Uint8Array): typeof fetch {
  return async () => new Response(new Uint8Array(bytes), { headers: { 'content-type': contentType } })
}

/** What a peer makes of everything: how many answers lose something, and how many that failed look whole. */
async function judge(peer: Peer): Promise<Readonly<Record<string, number>>> {
  const lost: Record<string, number> = {}
  const count = (what: string): void => void (lost[what] = (lost[what] ?? 0) + 1)
  for (const recording of answers) {
    const { bytes, expected } = recording
    const { text, reasoning, refusal, toolCalls, finishReason, usage } = expected
    const said = plain({ text, reasoning, refusal, toolCalls, finishReason, usage }) as Record<
      string,
      unknown
    >
    const heard = await peer(sending(recording, bytes)).then(
      (all) => plain(all) as Record<string, unknown>,
      () => undefined,
    )
    if (!heard) count('answers refused')
    else for (const [what, value] of Object.entries(said)) if (!same(heard[what], value)) count(what)

    const end = bytes.toString('latin1').search(/"finish_reason": ?"/)
    if (await looksWhole(peer, recording, bytes.subarray(0, end / 2))) count('cut answers that look whole')
  }
  for (const recording of failures)
    if (await looksWhole(peer, recording, recording.bytes)) count('failed answers that look whole')
  return lost
}

async function looksWhole(peer: Peer, recording: Recording, bytes: Uint8Array): Promise<boolean> {
  return peer(sending(recording, bytes)).then(
    () => true,
    () => false,
  )
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

describe.skipIf(streams.length === 0)('of the recorded answers', () => {
  test.each(Object.entries(peers))('%s loses what it loses', async (name, peer) => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    vi.spyOn(console, 'warn').mockImplementation(() => {})

    const lost = await judge(peer)

    console.log(
      `${name}, of ${answers.length} answers and ${failures.length} failures: ${JSON.stringify(lost)}`,
    )
    if (name.startsWith('this service')) expect(lost).toEqual({})
  })
})
