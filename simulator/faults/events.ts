import { begin, divide, rewrite, toSteps } from '../exchange.ts'
import type { Exchange } from '../exchange.ts'
import type { Step } from '../play.ts'
import { chunkOf, eventText, frameText, usageFrame } from '../wire.ts'
import type { Chunk, Frame } from '../wire.ts'
import type { Fault } from './fault.ts'

const serverError = {
  message: 'The model stopped with an error.',
  type: 'server_error',
  param: null,
  code: null,
}

/** Faults in the events of a stream. */
export const eventFaults: readonly Fault[] = [
  event('no-done', 'The last event, [DONE], is missing.', (x) => toSteps(x, without(x, 'done'))),
  event('done-without-finish', '[DONE] comes without a finish_reason before it.', (x) =>
    toSteps(x, without(x, 'finish', 'usage')),
  ),
  event('malformed-json', 'A line ends in the middle of its JSON; then the stream ends.', (x, after) => {
    const [, [next]] = divide(x.frames, after)
    const line = next ? frameText(next).trimEnd() : 'data: {'
    return [...begin(x, after), { do: 'write', data: `${line.slice(0, -12)}\n\n` }]
  }),
  event('no-final-blank-line', 'Ends right after the finish chunk, without the blank line.', (x) => {
    const steps = toSteps(x, without(x, 'usage', 'done'))
    return steps.map((step, index) => {
      return step.do === 'write' && index === steps.length - 1
        ? { ...step, data: String(step.data).trimEnd() }
        : step
    })
  }),
  event('error-object', 'An error in OpenAI’s shape, then the end without [DONE].', (x, after) =>
    fail(x, after, eventText(JSON.stringify({ error: serverError }))),
  ),
  event('error-string', 'An error that is only a string.', (x, after) =>
    fail(x, after, eventText(JSON.stringify({ error: 'The model stopped with an error.' }))),
  ),
  event('error-no-type', 'An error with a message and nothing else.', (x, after) =>
    fail(x, after, eventText(JSON.stringify({ error: { message: serverError.message } }))),
  ),
  event('error-no-message', 'An error whose message is null.', (x, after) =>
    fail(x, after, eventText(JSON.stringify({ error: { ...serverError, message: null } }))),
  ),
  event('error-event', 'An error as an event named `error`.', (x, after) =>
    fail(x, after, `event: error\n${eventText(JSON.stringify({ error: serverError }))}`),
  ),
  event('error-then-done', 'An error, and then [DONE] as if all were well.', (x, after) =>
    fail(x, after, eventText(JSON.stringify({ error: serverError })) + eventText('[DONE]')),
  ),
  chunk('finish-error', 'finish_reason "error" with an error beside it, then [DONE].', (x, after) => {
    const chunk = {
      ...chunkOf(x.reply, { content: '' }, 'error'),
      error: { code: 502, message: 'Provider failed.' },
    }
    return fail(x, after, eventText(JSON.stringify(chunk)) + eventText('[DONE]'))
  }),
  {
    name: 'finish-other',
    about: 'A finish_reason nobody has heard of.',
    params: { finish: 'out_of_ideas' },
    alter: (reply, { finish }) => ({ ...reply, finish }),
  },
  {
    name: 'content-filter',
    about: 'The answer is stopped by a content filter.',
    params: { after: 3 },
    alter: (reply, { after }) => ({
      ...reply,
      content: reply.content.slice(0, after),
      finish: 'content_filter',
    }),
  },
  {
    name: 'refusal',
    about: 'The model refuses, in the refusal field.',
    alter: (reply) => ({
      ...reply,
      content: [],
      calls: [],
      refusal: ["I'm", ' sorry', ',', ' I', " can't", ' help', ' with', ' that', '.'],
      finish: 'stop',
    }),
  },
  {
    name: 'empty-answer',
    about: 'A proper answer without a single token.',
    alter: (reply) => ({ ...reply, reasoning: [], content: [], calls: [], finish: 'stop' }),
  },
  chunk('empty-choices', 'A first chunk without choices, as Azure sends it.', (x) => {
    const chunk = {
      ...chunkOf(x.reply),
      id: '',
      object: '',
      model: '',
      created: 0,
      prompt_filter_results: [],
    }
    return toSteps(x, [raw(eventText(JSON.stringify(chunk))), ...x.frames])
  }),
  chunk('no-delta', 'A chunk whose choice has no delta, as Azure’s filter sends it.', (x, after) => {
    const choices = [
      { index: 0, finish_reason: null, content_filter_results: {}, content_filter_offsets: {} },
    ]
    return insert(x, after, eventText(JSON.stringify({ ...chunkOf(x.reply), choices })))
  }),
  chunk('usage-after-finish', 'The usage chunk comes whether asked for or not.', (x) => {
    const rest = without(x, 'usage', 'done')
    return toSteps(x, [...rest, usageFrame(x.reply), { kind: 'done' }])
  }),
  chunk('usage-late', 'After the finish chunk nothing comes, and the connection stays open.', (x) => [
    ...toSteps(x, without(x, 'usage', 'done')),
    { do: 'hold' },
  ]),
  chunk('no-usage', 'The usage chunk does not come although asked for.', (x) =>
    toSteps(x, without(x, 'usage')),
  ),
  event('null-data', 'Events that hold null, a number, a string, an array.', (x, after) =>
    insert(x, after, ['null', '1', '"text"', '[]', '{}'].map(eventText).join('')),
  ),
  event('empty-data', 'An event with empty data.', (x, after) => insert(x, after, 'data:\n\n')),
  event('split-surrogate', 'The two halves of one emoji in two chunks.', (x, after) =>
    insert(x, after, x.say('\ud83d') + x.say('\ude00')),
  ),
  event('lone-surrogate', 'Half an emoji, and never the other half.', (x, after) =>
    insert(x, after, x.say('\ud83d')),
  ),
  event('no-space', 'No space after `data:`.', (x) =>
    rewrite(toSteps(x, x.frames), (line) => line.replace(/^data: /gm, 'data:')),
  ),
  event('multi-line-data', 'The JSON of an event over several data lines.', (x) =>
    rewrite(toSteps(x, x.frames), (line) => {
      return line.replace(/^data: (\{.*)$/gm, (_, json: string) => {
        return JSON.stringify(JSON.parse(json), null, 1).replace(/^/gm, 'data: ')
      })
    }),
  ),
  event('named-events', 'Ids, names and retry times around the data.', (x) =>
    rewrite(toSteps(x, x.frames), (line) => `id: 1\nevent: message\nretry: 1000\n${line}`),
  ),
  event('after-done', 'More text after [DONE].', (x) => {
    return toSteps(x, [...x.frames, raw(x.say(' and one more thing') + x.say('!'))])
  }),
  event('open-after-done', 'The connection stays open after [DONE].', (x) => [
    ...toSteps(x, x.frames),
    { do: 'hold' },
  ]),
  chunk('extra-choice', 'Chunks of a second choice nobody asked for.', (x, after) => {
    const choices = [{ index: 1, delta: { content: 'another answer' }, logprobs: null, finish_reason: null }]
    return insert(x, after, eventText(JSON.stringify({ ...chunkOf(x.reply), choices })))
  }),
  chunk('unknown-fields', 'Fields nobody knows, in every object.', (x) =>
    toSteps(
      x,
      x.frames.map((frame) => withChunk(frame, decorate)),
    ),
  ),
  chunk(
    'reasoning-field',
    'Thinking before the answer, in `reasoning` instead of `reasoning_content`.',
    (x) => {
      const thought = ['Let', ' me', ' think', '.'].map((piece) => {
        const choices = [{ index: 0, delta: { reasoning: piece }, finish_reason: null }]
        return eventText(JSON.stringify({ ...chunkOf(x.reply), choices }))
      })
      return insert(x, 0, thought.join(''))
    },
  ),
  chunk('content-parts', 'Content as an array of parts, as Mistral sends it.', (x, after) => {
    const choices = [
      { index: 0, delta: { content: [{ type: 'text', text: ' in parts' }] }, finish_reason: null },
    ]
    return insert(x, after, eventText(JSON.stringify({ ...chunkOf(x.reply), choices })))
  }),
]

function event(name: string, about: string, make: (exchange: Exchange, after: number) => Step[]): Fault {
  const counts = make.length > 1 ? { params: { after: 3 } } : {}
  return { name, about, ...counts, streamOnly: true, play: (exchange, { after }) => make(exchange, after) }
}

/** A fault in what only chunks of chat completions have. */
function chunk(...how: Parameters<typeof event>): Fault {
  return { ...event(...how), api: 'chat' }
}

function without({ frames }: Exchange, ...kinds: Frame['kind'][]): Frame[] {
  return frames.filter(({ kind }) => !kinds.includes(kind))
}

function raw(text: string): Frame {
  return { kind: 'raw', text }
}

function fail(exchange: Exchange, after: number, data: string): Step[] {
  return [...begin(exchange, after), { do: 'write', data }]
}

function insert(exchange: Exchange, after: number, data: string): Step[] {
  const [first, rest] = divide(exchange.frames, after)
  return toSteps(exchange, [...first, raw(data), ...rest])
}

function withChunk(frame: Frame, change: (chunk: Chunk) => Chunk): Frame {
  return 'chunk' in frame ? { ...frame, chunk: change(frame.chunk) } : frame
}

function decorate(chunk: Chunk): Chunk {
  const extra = { x_unknown: { deep: [1, null] }, obfuscation: 'aB3' }
  const choices = chunk.choices.map((choice) => ({
    ...choice,
    ...extra,
    delta: { ...choice.delta, ...extra },
  }))
  return { ...chunk, ...extra, choices }
}
