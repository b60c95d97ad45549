import { describe, expect, test } from 'vitest'
import { createGetTime, tools } from '../../handlers/tools.ts'
import { createToolbox, type ToolResult } from '../../src/tools.ts'

test('the tools of the service are ones that a handler takes', () => {
  expect(createToolbox(tools).specs.map(({ name }) => name)).toEqual(['get_time'])
})

describe('get_time', () => {
  const getTime = createGetTime(() => Date.UTC(2026, 6, 31, 22, 30, 5))

  function run(args: unknown): Promise<ToolResult> {
    const call = { id: 'c0', name: 'get_time', arguments: JSON.stringify(args) }
    return createToolbox([getTime]).run(call, { signal: new AbortController().signal })
  }

  test.each([
    ['UTC', 'Friday', '2026-07-31', '22:30:05', 'GMT+00:00'],
    ['Europe/Paris', 'Saturday', '2026-08-01', '00:30:05', 'GMT+02:00'],
    ['America/New_York', 'Friday', '2026-07-31', '18:30:05', 'GMT-04:00'],
    ['Asia/Kolkata', 'Saturday', '2026-08-01', '04:00:05', 'GMT+05:30'],
  ])('tells the time in %s', async (timeZone, weekday, date, time, offset) => {
    expect(await run({ timeZone })).toMatchObject({ result: { timeZone, weekday, date, time, offset } })
  })

  test.each([
    ['an unknown zone', { timeZone: 'Middle/Earth' }, 'There is no time zone "Middle/Earth".'],
    ['a number', { timeZone: 1 }, 'Expected "string"'],
    ['nothing', {}, 'timeZone'],
    ['something else', { timeZone: 'UTC', city: 'Paris' }, '`city`'],
  ])('says what is wrong with %s', async (_, args, text) => {
    const { result, isError } = await run(args)

    expect(isError).toBe(true)
    expect(result).toContain(text)
  })

  test('knows what time it is', async () => {
    const [tool] = tools

    const told = tool?.execute?.({ timeZone: 'UTC' }, { signal: new AbortController().signal, callId: 'c0' })

    expect(told).toMatchObject({ date: expect.stringMatching(/^20\d\d-\d\d-\d\d$/) as string })
  })
})
