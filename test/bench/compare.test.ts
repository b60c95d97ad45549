import { describe, expect, test } from 'vitest'
import { chart } from '../../bench/compare/chart.ts'
import type { Report } from '../../bench/compare/report.ts'
import { createResponseReader } from '../../bench/compare/response.ts'
import { ratioOf, type Result, summaryOf } from '../../bench/compare/result.ts'
import { judge } from '../../bench/compare/targets.ts'
import { closing, createChecker, toBytes, tokenOf } from '../../bench/compare/tokens.ts'
import { createDecoder, type WireName } from '../../bench/compare/wires.ts'

const text = tokenOf(1, 500) + tokenOf(2, 999_999_999) + closing(1_000_000_499)
/** A client that cuts anywhere must not see a difference. */
const pieces = [1, 3, 1000].map((size) => new RegExp(`[^]{1,${size}}`, 'g'))

describe('a text', () => {
  test.each(pieces)('is right however it is cut (%s)', (piece) => {
    const checker = createChecker(2)
    const times: number[] = []

    for (const part of toBytes(text).match(piece)!) checker.take(part, (atUs) => times.push(atUs))

    expect([checker.problem(), times]).toEqual([undefined, [500, 999_999_999]])
  })

  test.each([
    ['a token is missing', text.replace('1@500,', '')],
    ['a token came twice', `1@500,${text}`],
    ['something is in between', text.replace('2@', ' 2@')],
    ['a time is another', text.replace('500', '501')],
    ['the end is missing', text.slice(0, -1)],
    ['a character is another', text.replace('é', 'e')],
  ])('is wrong when %s', (_, wrong) => {
    const read = (): string | undefined => {
      const checker = createChecker(2)
      try {
        checker.take(toBytes(wrong))
      } catch (error) {
        return (error as Error).message
      }
      return checker.problem()
    }

    expect(read()).toMatch(/token|text/i)
  })
})

const formats: readonly [WireName, (text: string) => string, string][] = [
  [
    'openai',
    (text) => `data: {"choices":[{"delta":{"content":${text}},"finish_reason":null}]}\n\n`,
    'data: [DONE]\n\n',
  ],
  [
    'events',
    (text) => `id: 7\ndata: {"type":"text","text":${text}}\n\n: \n\n`,
    'id: 8\ndata: {"type":"finish","reason":"stop"}\n\n',
  ],
  ['ui', (text) => `data: {"type":"text-delta","id":"t1","delta":${text}}\n\n`, 'data: [DONE]\n\n'],
  ['plain', (text) => `data: {"content":${text}}\n\n`, 'data: [DONE]\n\n'],
]

describe.each(formats)('the text in %s', (name, event, end) => {
  test.each(pieces)('is the same however it is cut (%s)', (piece) => {
    const decoder = createDecoder(name)
    const stream = event('"1@5,"') + event(JSON.stringify('2@6,=11 é 日本 🙂 "\\\n')) + end

    const parts = toBytes(stream)
      .match(piece)!
      .map((part) => decoder.push(part))

    expect([parts.join(''), decoder.ended]).toEqual([toBytes('1@5,2@6,=11 é 日本 🙂 "\\\n'), true])
  })

  test('is not whole before its end', () => {
    const decoder = createDecoder(name)

    decoder.push(event('"1@5,"') + end.slice(0, -1))

    expect(decoder.ended).toBe(false)
  })
})

describe('a response', () => {
  test.each(pieces)('in chunks is put together however it is cut (%s)', (piece) => {
    const reader = createResponseReader()
    const bytes =
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n\r\n23456789\r\n0\r\n\r\n'

    const parts = bytes.match(piece)!.map((part) => reader.push(part))

    expect([parts.join(''), reader.status, reader.ended, reader.reusable]).toEqual([
      'abc\r\n23456789',
      200,
      true,
      true,
    ])
  })

  test('with a length ends by itself, and one without ends with its connection', () => {
    const [sized, open] = [createResponseReader(), createResponseReader()]

    sized.push('HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno')
    open.push('HTTP/1.1 200 OK\r\n\r\nno')

    expect([sized.status, sized.ended, open.ended, open.reusable]).toEqual([503, true, false, false])
  })
})

const metrics = [{ key: 'cpuUs', label: 'CPU', digits: 1 }]
const r1: Result = {
  id: 'r1',
  title: 'R1',
  what: 'What.',
  base: 'pipe',
  metrics,
  subjects: ['pipe', 'deltarelay', 'tutorial', 'nginx'],
  rounds: [
    { pipe: { cpuUs: 10 }, deltarelay: { cpuUs: 14 }, tutorial: { cpuUs: 30 } },
    { pipe: { cpuUs: 20 }, deltarelay: { cpuUs: 30 }, tutorial: { cpuUs: null } },
    { pipe: { cpuUs: 10 }, deltarelay: { cpuUs: 16 }, tutorial: { cpuUs: 20 } },
  ],
  notes: [],
}

test('ratios are those of each round, and what was not measured does not count', () => {
  expect(ratioOf(r1, 'deltarelay', 'pipe', 'cpuUs')).toEqual({ median: 1.5, min: 1.4, max: 1.6 })
  expect(summaryOf(r1, 'tutorial', 'cpuUs')).toEqual({ median: 20, min: 20, max: 30 })
  expect(summaryOf(r1, 'nginx', 'cpuUs')).toBeUndefined()
})

test('a target is judged when its figures are there', () => {
  expect(judge([r1]).map(({ what, value, met }) => [what, value, met])).toEqual([
    ['R1 CPU per delta, deltarelay / pipe', 1.5, 'must'],
    ['R1 CPU per delta, tutorial / deltarelay', 1.25, 'missed'],
  ])
})

test('the chart is well-formed and has a bar for each subject that was measured', () => {
  const circumstances = { command: 'npm run bench', node: 'v24', cpu: 'A & B <C>', date: '2026-01-01' }
  const report = { circumstances, results: [r1], verdicts: [], failures: [] } as unknown as Report // all that it reads

  const svg = chart(report)

  const tags = [...svg.matchAll(/<(\/?)(\w+)[^<>]*?(\/?)>/g)]
  const open: string[] = []
  for (const [, closes, name, empty] of tags) {
    if (closes) expect(open.pop()).toBe(name)
    else if (!empty) open.push(name!)
  }
  expect(open).toEqual([])
  expect(svg.match(/<rect /g)).toHaveLength(3)
  expect(svg).toContain('A &amp; B &lt;C&gt;')
  expect(svg).toContain('1.50×')
})
