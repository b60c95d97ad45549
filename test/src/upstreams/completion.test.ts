import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChatError } from '../../../src/errors.ts'
import type { UpstreamDelta } from '../../../src/types.ts'
import { createCompletionParser } from '../../../src/upstreams/completion.ts'
import { divide, framings, positions } from '../framings.ts'
import { recordings, textIn } from '../kit.ts'

const encoder = new TextEncoder()
const recorded = recordings()

interface Outcome {
  readonly deltas: readonly UpstreamDelta[]
  readonly failure: ChatError | undefined
}

/** Feeds pieces one by one and says what came of it, as the upstream would. */
function parse(pieces: Iterable<Uint8Array>, maxEventBytes = 1024 * 1024): Outcome {
  const parser = createCompletionParser({ maxEventBytes })
  const deltas: UpstreamDelta[] = []
  for (const piece of pieces) {
    parser.feed(piece)
    deltas.push(...parser.take())
  }
  parser.end()
  deltas.push(...parser.take())
  if (parser.failure) return { deltas, failure: parser.failure }
  try {
    return { deltas: [...deltas, ...parser.close()], failure: undefined }
  } catch (error) {
    if (!(error instanceof ChatError)) throw error
    return { deltas, failure: error }
  }
}

describe.skipIf(recorded.length === 0)('a recorded answer is understood', () => {
  test.each(Object.entries(framings))('%s', (_, way) => {
    for (const recording of recorded) {
      const { deltas, failure } = parse(way(recording))
      const { expected } = recording

      const usage = deltas.find((delta) => delta.type === 'usage')
      const found = {
        name: recording.name,
        text: textIn(deltas),
        reasoning: textIn(deltas, 'reasoning'),
        refusal: textIn(deltas, 'refusal'),
        toolCalls: callsIn(deltas),
        finish: deltas.findLast(({ type }) => type === 'finish'),
        failed: failure?.code,
        usage: usage ? { prompt: usage.inputTokens, completion: usage.outputTokens } : null,
      }
      expect(found).toEqual({
        name: recording.name,
        text: expected.text,
        reasoning: expected.reasoning,
        refusal: expected.refusal,
        toolCalls: expected.toolCalls,
        finish: expected.finishReason ? { type: 'finish', reason: ours(expected.finishReason) } : undefined,
        failed: expected.errors.length > 0 ? 'upstream-error' : undefined,
        usage: expected.usage && {
          prompt: expected.usage.prompt,
          completion: expected.usage.completion,
        },
      })
    }
  })

  test('each call has its id and its name in its first piece, and nowhere else', () => {
    for (const { bytes, expected } of recorded) {
      const pieces = parse([bytes]).deltas.filter((delta) => delta.type === 'tool-call')

      const named = pieces.filter(({ id, name }) => id !== undefined || name !== undefined)
      expect(named.map(({ index, id, name }) => ({ index, id, name }))).toEqual(
        expected.toolCalls.map(({ id, name }, index) => ({ index, id, name })),
      )
    }
  })

  test('wherever it is cut, only a finish reason makes it whole', () => {
    for (const recording of recorded.filter(({ bytes }) => bytes.length < 3000)) {
      const { bytes, expected } = recording
      for (let at = 0; at < bytes.length; at++) {
        const { deltas, failure } = parse([bytes.subarray(0, at)])

        const finish = deltas.some(({ type }) => type === 'finish')
        expect(finish).toBe(failure === undefined)
        expect(finish).toBe(wholeReason(bytes.subarray(0, at)))
        expect(expected.text.startsWith(textIn(deltas))).toBe(true)
      }
    }
  })
})

/** Whether some whole line of a cut stream has a finish reason: a line is whole when its JSON is. */
function wholeReason(bytes: Uint8Array): boolean {
  const lines = new TextDecoder().decode(bytes).split('\n')
  return lines.some((line) => {
    if (!/"finish_reason": ?"/.test(line)) return false
    try {
      JSON.parse(line.replace(/^data: ?/, ''))
      return true
    } catch {
      return false
    }
  })
}

function ours(word: string): string {
  return word.replace('_', '-')
}

function callsIn(deltas: readonly UpstreamDelta[]) {
  const calls: { id: string; name: string; arguments: string }[] = []
  for (const delta of deltas) {
    if (delta.type !== 'tool-call') continue
    const call = (calls[delta.index] ??= { id: '', name: '', arguments: '' })
    call.id += delta.id ?? ''
    call.name += delta.name ?? ''
    call.arguments += delta.arguments
  }
  return calls
}

function stream(...events: (string | object)[]): Uint8Array {
  const text = events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`)
  return encoder.encode(text.join(''))
}

const finish = { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }
function saying(content: unknown): object {
  return { choices: [{ index: 0, delta: { content }, finish_reason: null }] }
}

describe('whatever comes', () => {
  test('bytes without a meaning never make it throw, nor seem whole', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (pieces) => {
        const { deltas, failure } = parse(pieces)
        expect(deltas).toEqual([])
        expect(failure).toBeInstanceOf(ChatError)
      }),
    )
  })

  test('the cuts between pieces do not matter', () => {
    const text = fc.string({ unit: 'binary' })
    fc.assert(
      fc.property(fc.array(text), fc.array(fc.nat(2000)), (words, cuts) => {
        const bytes = stream(...words.map(saying), finish, '[DONE]')
        const sorted = cuts.filter((at) => at <= bytes.length).sort((a, b) => a - b)
        const { deltas, failure } = parse(divide(bytes, sorted))
        expect(failure).toBeUndefined()
        expect(textIn(deltas)).toBe(words.join(''))
      }),
    )
  })

  const strange = fc.oneof(
    fc.jsonValue(),
    fc.record({ choices: fc.oneof(fc.jsonValue(), fc.array(fc.jsonValue())) }),
    fc.record({ error: fc.jsonValue() }),
    fc.record({ choices: fc.tuple(fc.record({ delta: fc.jsonValue(), finish_reason: fc.jsonValue() })) }),
    fc.record({
      choices: fc.tuple(fc.record({ error: fc.jsonValue(), finish_reason: fc.constant('error') })),
    }),
    fc.record({
      choices: fc.tuple(fc.record({ delta: fc.record({ tool_calls: fc.array(fc.jsonValue()) }) })),
    }),
    fc.record({ error: fc.record({ code: fc.jsonValue(), type: fc.jsonValue(), message: fc.jsonValue() }) }),
    fc.record({ usage: fc.jsonValue(), citations: fc.jsonValue(), x_groq: fc.jsonValue() }),
  )

  test('a chunk of a strange shape is ignored, or a failure of the upstream and not of ours', () => {
    fc.assert(
      fc.property(fc.array(strange), (chunks) => {
        const { failure } = parse([stream(...chunks.map((chunk) => JSON.stringify(chunk)), finish)])
        expect(failure?.code).not.toBe('internal')
      }),
      { numRuns: 500 },
    )
  })

  test.each<[string, unknown]>([
    ['a text', 'Overloaded.'],
    ['a message alone', { message: 'Overloaded.' }],
    ['a message that is null', { message: null, type: 'server_error' }],
    ['nothing', {}],
    ['words that are no words', { type: { toString: 1, valueOf: 1 }, code: { toString: 1 } }],
    ['a number', 500],
    ['a list', [{ message: 'Overloaded.' }]],
  ])('an error in the shape of %s is an error', (_, error) => {
    const { deltas, failure } = parse([stream(saying('Hel'), { error }, '[DONE]')])

    expect(textIn(deltas)).toBe('Hel')
    expect(failure?.code).toBe('upstream-error')
    expect(failure?.message).toMatch(/^The model's server /)
  })

  test.each<[string, unknown]>([
    ['null', null],
    ['an empty text', ''],
    ['false', false],
    ['a sentence', 'Failed.'],
    ['an object', { code: 502 }],
  ])('finish_reason "error" with %s beside it is an error', (_, error) => {
    const choice = { index: 0, delta: {}, finish_reason: 'error', error }

    const { failure } = parse([stream(saying('Hel'), { choices: [choice] }, '[DONE]')])

    expect(failure?.code).toBe('upstream-error')
  })

  test.each(['null', '1', '"text"', '[]', '{}', 'true'])('an event that holds %s is skipped', (data) => {
    const { deltas, failure } = parse([stream(saying('Hel'), data, saying('lo'), finish, '[DONE]')])

    expect(failure).toBeUndefined()
    expect(textIn(deltas)).toBe('Hello')
  })

  test.each([0, '0', null, undefined])('the choice with the index %j is the first one', (index) => {
    const choice = (number: unknown, content: string) => ({ index: number, delta: { content } })
    const both = { choices: [choice(1, 'no'), choice('1', 'no'), choice(index, 'Hello')] }

    const { deltas, failure } = parse([stream(both, finish, '[DONE]')])

    expect(failure).toBeUndefined()
    expect(textIn(deltas)).toBe('Hello')
  })

  test('what comes after [DONE] does not count', () => {
    const { deltas, failure } = parse([
      stream(saying('Hel'), finish, '[DONE]', saying('lo'), { error: 'no' }),
    ])

    expect(failure).toBeUndefined()
    expect(textIn(deltas)).toBe('Hel')
  })

  test.each([
    ['the finish reason', [finish, '[DONE]'], undefined],
    ['[DONE]', ['[DONE]'], 'upstream-incomplete'],
    ['the end of the body', [], 'upstream-truncated'],
  ])('a call that never got an id comes once, and last at %s', (_, rest, code) => {
    const call = { index: 0, function: { name: 'f', arguments: '{}' } }

    const { deltas, failure } = parse([
      stream({ choices: [{ delta: { tool_calls: [call] } }] }, saying('Hel'), ...rest),
    ])

    expect(deltas.filter(({ type }) => type !== 'finish')).toEqual([
      { type: 'text', text: 'Hel' },
      { type: 'tool-call', index: 0, name: 'f', arguments: '{}' },
    ])
    expect(failure?.code).toBe(code)
  })

  test('what is held comes with [DONE], though the body stays open', () => {
    const parser = createCompletionParser({ maxEventBytes: 1000 })
    const call = { index: 0, function: { name: 'f', arguments: '{}' } }

    parser.feed(stream({ choices: [{ delta: { tool_calls: [call] } }] }))
    expect(parser.take()).toEqual([])

    parser.feed(stream('[DONE]'))
    expect(parser.take()).toEqual([{ type: 'tool-call', index: 0, name: 'f', arguments: '{}' }])
  })

  test('text in two halves of a surrogate pair is joined, and a lone half does no harm', () => {
    const { deltas } = parse([stream(saying('\ud83d'), saying('\ude00'), saying('\ud83d'), finish)])

    expect(textIn(deltas)).toBe('😀\ud83d')
  })

  test.each([
    ['one line that never ends', `data: ${'x'.repeat(3000)}`],
    ['many lines of one event', `data: ${'x'.repeat(90)}\n`.repeat(40)],
  ])('an event that is too large is a failure: %s', (_, text) => {
    const bytes = encoder.encode(text)

    const { deltas, failure } = parse(
      [
        stream(saying('Hel')),
        ...divide(
          bytes,
          positions(bytes.length, () => 100),
        ),
      ],
      1000,
    )

    expect(textIn(deltas)).toBe('Hel')
    expect(failure?.code).toBe('upstream-too-large')
  })

  test.each<[string, string, object]>([
    [
      'a field "error"',
      'error: {"code":400,"message":"Too long."}',
      { status: 400, message: /refused the request/ },
    ],
    ['a field "error" with a text', 'error: too busy', { code: 'upstream-error' }],
    ['a line of JSON', '{"error":"llama runner process has terminated"}', { code: 'upstream-error' }],
  ])('%s is a failure, though it is no event', (_, line, { message, ...failure }: { message?: RegExp }) => {
    const ends = ['\n\n', '\n', '\ndata: [DONE]\n\n', '']
    for (const end of ends) {
      const outcome = parse([stream(saying('Hel')), encoder.encode(line + end)])

      expect(textIn(outcome.deltas)).toBe('Hel')
      expect(outcome.failure).toMatchObject(failure)
      expect(outcome.failure?.code).toBe('upstream-error')
      if (message) expect(outcome.failure?.message).toMatch(message)
    }
  })

  test.each(['retry-after: 3', 'error:', '{"status":"fine"}', '{"status":', 'a: {"error":"no"}'])(
    'a line that is no field of ours is skipped: %s',
    (line) => {
      const { deltas, failure } = parse([encoder.encode(`${line}\n`), stream(saying('Hel'), finish)])

      expect(failure).toBeUndefined()
      expect(textIn(deltas)).toBe('Hel')
    },
  )

  test('a piece that is not JSON is a failure that does not repeat it', () => {
    const { deltas, failure } = parse([stream(saying('Hel'), '{"choices":[{"secret', finish, '[DONE]')])

    expect(textIn(deltas)).toBe('Hel')
    expect(failure?.code).toBe('upstream-malformed')
    expect(failure?.message).not.toContain('secret')
    expect(failure?.cause).toEqual(new Error('SyntaxError'))
  })
})

test('a mark in the middle of an answer is a character, also where a piece begins with it', () => {
  const body = new TextEncoder().encode('data: {"choices":[{"index":0,"delta":{"content":"a\ufeffb"}}]}\n\n')
  for (let at = 1; at < body.length; at++) {
    const parser = createCompletionParser({ maxEventBytes: 1000 })
    parser.feed(body.subarray(0, at))
    parser.feed(body.subarray(at))

    expect(parser.take()).toEqual([{ type: 'text', text: 'a\ufeffb' }])
  }
})
