import { EventSource } from 'eventsource'
import { expect, onTestFinished, test } from 'vitest'
import { startCuttingProxy } from '../hosts/proxy.ts'
import type { ChatDelta, UpstreamDelta } from '../../src/types.ts'
import { type Step, stop, until } from '../src/kit.ts'
import { createService } from './ai-sdk-service.ts'

const serve = createService()
const tokens = ['Once ', 'upon ', 'a ', 'time ', 'Zoë ', 'said ', '你好 ', '👋\r\n', 'a\u2028b ', 'and left.']

const say = (text: string): UpstreamDelta => ({ type: 'text', text })

interface Listener {
  readonly source: EventSource
  readonly deltas: ChatDelta[]
  readonly lastId: () => string
}

function listen(url: string): Listener {
  const source = new EventSource(url)
  const deltas: ChatDelta[] = []
  let lastId = ''
  source.addEventListener('message', ({ data, lastEventId }) => {
    lastId = lastEventId
    deltas.push(JSON.parse(data as string) as ChatDelta)
  })
  onTestFinished(() => source.close())
  return { source, deltas, lastId: () => lastId }
}

const wordsIn = (deltas: readonly ChatDelta[]): string =>
  deltas.map((delta) => (delta.type === 'text' ? delta.text : '')).join('')

test('the eventsource package reads an answer, and stops at its end by itself', async () => {
  const { url, model } = await serve([[...tokens.map(say), stop]])

  const { source, deltas } = listen(`${url}/stream?prompt=hi`)
  await until(() => source.readyState === EventSource.CLOSED)

  expect(wordsIn(deltas)).toBe(tokens.join(''))
  expect(deltas.at(-1)).toEqual(stop)
  expect(model.asked).toHaveLength(1)
})

test('the eventsource package comes back after a cut, in the middle or at the end, and misses nothing', async () => {
  const steps: Step[] = [...tokens.slice(0, 4).map(say), 'wait', ...tokens.slice(4).map(say), stop]
  const { url, model } = await serve([steps])
  const lastIds = [5, 12]
  let shown = (): boolean => false
  const proxy = await startCuttingProxy({
    target: url,
    cutAt: [/"text":"time "/, /"type":"finish"/],
    beforeCut: () => until(() => shown()),
  })
  onTestFinished(proxy.close)

  const { source, deltas, lastId } = listen(`${proxy.url}/stream?prompt=hi`)
  shown = () => lastId().endsWith(`.${lastIds[0]}`) && lastIds.shift() !== undefined
  await proxy.cut(1)
  model.release()
  await until(() => source.readyState === EventSource.CLOSED, 20_000)

  expect(wordsIn(deltas)).toBe(tokens.join(''))
  expect(deltas.map(({ type }) => type)).toEqual(['start', ...tokens.map(() => 'text'), 'finish'])
  expect(model.asked).toHaveLength(1)
  expect(proxy.requests.map(([, id]) => id?.split('.')[1])).toEqual([undefined, '5', '12'])
})
