import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChatError } from '../../../src/errors.ts'
import type { UpstreamDelta } from '../../../src/types.ts'
import { createChunkReader } from '../../../src/upstreams/chunk.ts'

/** What a reader says of chunks: deltas, then the finish, as at the end of an answer. */
function read(...chunks: readonly unknown[]): UpstreamDelta[] {
  const reader = createChunkReader()
  const out: UpstreamDelta[] = []
  for (const chunk of chunks) reader.read(chunk, out)
  reader.flush?.(out)
  if (reader.finish) out.push(reader.finish)
  return out
}

/** A chunk with one choice. */
function choice(fields: object): object {
  return { object: 'chat.completion.chunk', choices: [{ index: 0, ...fields }] }
}
/** A chunk with this delta. */
function chunk(delta: unknown): object {
  return choice({ delta, finish_reason: null })
}
const text = (words: string): UpstreamDelta => ({ type: 'text', text: words })
const reasoning = (words: string): UpstreamDelta => ({ type: 'reasoning', text: words })
const refusal = (words: string): UpstreamDelta => ({ type: 'refusal', text: words })
const source = (url: string, title?: string): UpstreamDelta => ({
  type: 'source',
  url,
  ...(title ? { title } : {}),
})
const stop: UpstreamDelta = { type: 'finish', reason: 'stop' }

describe('the words of a delta', () => {
  test.each<[string, unknown, UpstreamDelta[]]>([
    ['a text', { content: 'Hi' }, [text('Hi')]],
    ['white space', { content: ' \n' }, [text(' \n')]],
    ['nothing', { content: '' }, []],
    ['null', { content: null, refusal: null, reasoning: null, tool_calls: null, function_call: null }, []],
    ['a delta that is null', null, []],
    [
      'parts',
      {
        content: [
          { type: 'text', text: 'H' },
          { type: 'output_text', text: 'i' },
        ],
      },
      [text('H'), text('i')],
    ],
    ['one part', { content: { type: 'text', text: 'Hi' } }, [text('Hi')]],
    ['parts that are texts', { content: ['H', 'i'] }, [text('H'), text('i')]],
    [
      'parts without text',
      {
        content: [
          { type: 'image_url', image_url: { url: 'https://a.test' } },
          { type: 'input_audio', text: 'no' },
          { type: 'reference', reference_ids: [1] },
          null,
          7,
        ],
      },
      [],
    ],
    [
      'thinking parts',
      {
        content: [
          {
            type: 'thinking',
            thinking: [
              { type: 'text', text: 'Hm' },
              { type: 'text', text: '.' },
            ],
          },
          { type: 'text', text: 'Hi' },
        ],
      },
      [reasoning('Hm.'), text('Hi')],
    ],
    ['a reasoning part', { content: [{ type: 'reasoning', text: 'Hm' }] }, [reasoning('Hm')]],
    ['a refusal part', { content: [{ type: 'refusal', refusal: 'No.' }] }, [refusal('No.')]],
    ['a refusal', { content: null, refusal: 'No.' }, [refusal('No.')]],
    ['reasoning_content', { reasoning_content: 'Hm', content: null }, [reasoning('Hm')]],
    ['reasoning', { reasoning: 'Hm', content: 'Hi' }, [reasoning('Hm'), text('Hi')]],
    ['reasoning as an object', { reasoning: { content: 'Hm' } }, [reasoning('Hm')]],
    [
      'reasoning_details',
      {
        reasoning_details: [
          { type: 'reasoning.summary', summary: 'H' },
          { type: 'reasoning.text', text: 'm', signature: 's' },
          { type: 'reasoning.text', text: null },
          { type: 'reasoning.encrypted', data: 'AAAA', text: 'no' },
        ],
      },
      [reasoning('Hm')],
    ],
    ['encrypted reasoning alone', { reasoning_details: [{ type: 'reasoning.encrypted', data: 'AAAA' }] }, []],
    [
      'the same reasoning in two fields',
      { reasoning: 'Hm', reasoning_details: [{ type: 'reasoning.text', text: 'Hm' }] },
      [reasoning('Hm')],
    ],
    ['the same reasoning in two others', { reasoning: 'Hm', reasoning_content: 'Hm' }, [reasoning('Hm')]],
    [
      'the same reasoning in a field and a part',
      {
        reasoning_content: 'Hm',
        content: [
          { type: 'thinking', thinking: 'Hm' },
          { type: 'text', text: 'Hi' },
        ],
      },
      [reasoning('Hm'), text('Hi')],
    ],
    ['reasoning behind an empty text', { reasoning_content: '', reasoning: 'Hm' }, [reasoning('Hm')]],
    [
      'reasoning behind empty fields',
      { reasoning_content: '', reasoning: '', reasoning_details: [{ text: 'Hm' }] },
      [reasoning('Hm')],
    ],
  ])('%s', (_, delta, deltas) => {
    expect(read(chunk(delta))).toEqual(deltas)
  })

  test('text is the exact concatenation', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' })), (words) => {
        const said = read(...words.map((content) => chunk({ content })))
        expect(said.map((delta) => (delta.type === 'text' ? delta.text : '?')).join('')).toBe(words.join(''))
      }),
    )
  })

  test('parts nested beyond measure are no fault of ours', () => {
    let content: unknown = 'deep'
    for (let depth = 0; depth < 100_000; depth++) content = [{ text: content }]

    expect(read(chunk({ content, reasoning_details: content }), chunk({ content: 'Hi' }))).toEqual([
      text('Hi'),
    ])
  })

  test('one choice in several parts is read whole', () => {
    const choices = [
      { index: 0, delta: { content: 'Hi' }, finish_reason: 'tool_calls' },
      { index: 0, delta: { tool_calls: [{ id: 'a', function: { name: 'f', arguments: '{}' } }] } },
    ]

    expect(read({ choices })).toEqual([
      text('Hi'),
      { type: 'tool-call', index: 0, id: 'a', name: 'f', arguments: '{}' },
      { type: 'finish', reason: 'tool-calls' },
    ])
  })

  test.each([null, 1, 'text', true, [], [chunk({ content: 'no' })], {}, { choices: null }, { choices: [] }])(
    'what is no chunk says nothing: %j',
    (event) => {
      expect(read(event, chunk({ content: 'Hi' }), { choices: [null, 1, {}] })).toEqual([text('Hi')])
    },
  )
})

describe('logprobs', () => {
  const tokens = [{ token: 'Hi', logprob: -0.1, bytes: [72, 105], top_logprobs: [] }]

  test.each<[string, object, UpstreamDelta[]]>([
    [
      'go with the text',
      { delta: { content: 'Hi' }, logprobs: { content: tokens } },
      [{ type: 'text', text: 'Hi', logprobs: tokens }],
    ],
    [
      'go with the refusal',
      { delta: { refusal: 'No' }, logprobs: { content: null, refusal: tokens } },
      [{ type: 'refusal', text: 'No', logprobs: tokens }],
    ],
    [
      'without a text are kept',
      { delta: { content: '' }, logprobs: { content: tokens } },
      [{ type: 'text', text: '', logprobs: tokens }],
    ],
    [
      'without a delta are kept',
      { logprobs: { content: tokens } },
      [{ type: 'text', text: '', logprobs: tokens }],
    ],
    [
      'go with the first of several parts',
      { delta: { reasoning: 'Hm', content: ['H', 'i'] }, logprobs: { content: tokens } },
      [reasoning('Hm'), { type: 'text', text: 'H', logprobs: tokens }, text('i')],
    ],
    ['that are null say nothing', { delta: { content: 'Hi' }, logprobs: null }, [text('Hi')]],
    [
      'that are empty say nothing',
      { delta: { content: 'Hi' }, logprobs: { content: [], refusal: [] } },
      [text('Hi')],
    ],
    [
      'of another shape say nothing',
      { delta: { content: 'Hi' }, logprobs: { tokens: ['Hi'], token_logprobs: [-0.1] } },
      [text('Hi')],
    ],
  ])('%s', (_, fields, deltas) => {
    expect(read(choice(fields))).toEqual(deltas)
  })
})

describe('a message where a delta should be', () => {
  const message = { role: 'assistant', content: 'Hello', reasoning: 'Hm', tool_calls: null }
  const call = { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }
  const called: UpstreamDelta = { type: 'tool-call', index: 0, id: 'a', name: 'f', arguments: '{}' }

  test.each<[string, object[], UpstreamDelta[]]>([
    [
      'is the answer when it is alone',
      [choice({ message, finish_reason: 'stop' })],
      [reasoning('Hm'), text('Hello'), stop],
    ],
    [
      'says nothing new after deltas',
      [chunk({ reasoning: 'Hm' }), chunk({ content: 'Hello' }), choice({ message, finish_reason: 'stop' })],
      [reasoning('Hm'), text('Hello'), stop],
    ],
    [
      'says nothing new beside each delta',
      [
        choice({ delta: { content: '' }, message: { content: '' } }),
        choice({ delta: { content: 'Hel' }, message: { content: 'Hel' } }),
        choice({ delta: { content: 'lo' }, message: { content: 'Hello' } }),
        choice({ delta: { content: '' }, message: { content: 'Hello' }, finish_reason: 'stop' }),
      ],
      [text('Hel'), text('lo'), stop],
    ],
    [
      'counts for what deltas did not speak of',
      [
        chunk({ reasoning: 'Hm' }),
        choice({ message: { ...message, tool_calls: [call] }, finish_reason: 'stop' }),
      ],
      [reasoning('Hm'), text('Hello'), called, stop],
    ],
    [
      'that grows is said once',
      [
        choice({ message: { content: 'Hel' } }),
        choice({ message: { content: 'Hello' } }),
        choice({ message: { content: 'Hello' } }),
      ],
      [text('Hel'), text('lo')],
    ],
    [
      'in pieces is joined',
      [choice({ message: { content: 'Hel' } }), choice({ message: { content: 'lo' } })],
      [text('Hel'), text('lo')],
    ],
    [
      'does not repeat calls, held ones neither',
      [chunk({ tool_calls: [{ ...call, id: '' }] }), choice({ message: { tool_calls: [call] } })],
      [{ type: 'tool-call', index: 0, name: 'f', arguments: '{}' }],
    ],
    [
      'does not repeat logprobs',
      [
        choice({ delta: { content: 'Hello' }, logprobs: { content: [1] } }),
        choice({ message: { content: 'Hello' }, logprobs: { content: [1] } }),
      ],
      [{ type: 'text', text: 'Hello', logprobs: [1] }],
    ],
    ['can be a bare text', [choice({ text: 'Hello', finish_reason: 'stop' })], [text('Hello'), stop]],
    [
      'is not a bare text beside a delta',
      [choice({ text: 'Hello', delta: { content: 'Hello' } })],
      [text('Hello')],
    ],
  ])('%s', (_, chunks, deltas) => {
    expect(read(...chunks)).toEqual(deltas)
  })
})

describe('sources', () => {
  const [x, y] = ['https://x.test/', 'https://y.test/']

  test.each<[string, unknown[], UpstreamDelta[]]>([
    ['addresses in a chunk', [{ citations: [x, y] }], [source(x), source(y)]],
    [
      'addresses in every chunk',
      [{ citations: [x] }, { citations: [x, y] }, { citations: [x, y] }],
      [source(x), source(y)],
    ],
    ['objects', [{ citations: [{ url: x, title: 'X' }, { url: y }] }], [source(x, 'X'), source(y)]],
    [
      'search results, whose titles are better than bare addresses',
      [{ citations: [x, y], search_results: [{ title: 'X', url: x, date: null }] }],
      [source(x, 'X'), source(y)],
    ],
    [
      'annotations of a delta',
      [
        chunk({
          annotations: [{ type: 'url_citation', url_citation: { url: x, title: 'X', start_index: 0 } }],
        }),
      ],
      [source(x, 'X')],
    ],
    [
      'flat annotations',
      [chunk({ annotations: [{ type: 'url_citation', url: x, title: '' }] })],
      [source(x)],
    ],
    ['citations of a delta', [chunk({ citations: [x] })], [source(x)]],
    [
      'citations of a message',
      [choice({ message: { citations: [x], annotations: [{ url: y }] } })],
      [source(y), source(x)],
    ],
    ['annotations of a chunk', [{ annotations: [{ url: x }] }], [source(x)]],
    [
      'nothing of use',
      [{ citations: [null, 1, '', {}, { url: 7 }], search_results: 'x', annotations: {} }],
      [],
    ],
  ])('%s', (_, chunks, deltas) => {
    expect(read(...chunks)).toEqual(deltas)
  })
})

describe('the finish reason', () => {
  /** The finish after these reasons, each in a chunk of its own. */
  function finish(...reasons: readonly unknown[]): UpstreamDelta | undefined {
    return read(...reasons.map((finish_reason) => choice({ delta: {}, finish_reason }))).at(-1)
  }

  test.each<[unknown[], object | undefined]>([
    [['stop'], { reason: 'stop' }],
    [['STOP'], { reason: 'stop' }],
    [['max_tokens'], { reason: 'length' }],
    [['function_call'], { reason: 'tool-calls' }],
    [['insufficient_system_resource'], { reason: 'other', raw: 'insufficient_system_resource' }],
    [['constructor'], { reason: 'other', raw: 'constructor' }],
    [[null, '', undefined, 7, {}], undefined],
    [['stop', null, ''], { reason: 'stop' }],
    [['stop', 'stop', 'stop'], { reason: 'stop' }],
    [['tool_calls', 'stop'], { reason: 'tool-calls' }],
    [['length', 'stop', 'tool_calls'], { reason: 'length' }],
    [['odd', 'stop'], { reason: 'other', raw: 'odd' }],
    [['stop', 'odd'], { reason: 'stop' }],
    // A filter that works beside the model speaks after it; a relay says "stop" before it knows of calls.
    [['stop', 'content_filter'], { reason: 'content-filter' }],
    [['stop', 'tool_calls', 'length'], { reason: 'tool-calls' }],
  ])('%j', (reasons, expected) => {
    expect(finish(...reasons)).toEqual(expected && { type: 'finish', ...expected })
  })

  test('does not keep later words from being heard', () => {
    const said = read(
      choice({ delta: { content: 'Hel' }, finish_reason: 'stop' }),
      choice({ delta: { content: 'lo' }, finish_reason: 'stop' }),
      chunk({ content: '!' }),
    )

    expect(said).toEqual([text('Hel'), text('lo'), text('!'), stop])
  })
})

describe('an error in a choice', () => {
  test.each<[string, object, string]>([
    ['says what it is', { error: { code: 429, message: 'Slow.' }, finish_reason: 'error' }, 'rate-limited'],
    [
      'counts without a finish reason',
      { delta: { content: '' }, error: { message: 'No.' } },
      'upstream-error',
    ],
    ['counts in capitals', { delta: {}, finish_reason: 'ERROR' }, 'upstream-error'],
  ])('%s', (_, fields, code) => {
    expect(() => read(choice(fields))).toThrow(expect.objectContaining({ code }))
  })

  test('leaves the words beside it', () => {
    const out: UpstreamDelta[] = []

    expect(() =>
      createChunkReader().read(
        choice({ delta: { content: 'Hi' }, error: 'No.', finish_reason: 'error' }),
        out,
      ),
    ).toThrow(ChatError)
    expect(out).toEqual([text('Hi')])
  })

  test.each([null, '', {}, { message: '' }])('that is empty is none: %j', (error) => {
    expect(read(choice({ delta: { content: 'Hi' }, error }))).toEqual([text('Hi')])
  })
})
