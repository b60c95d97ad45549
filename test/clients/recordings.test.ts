import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { readRecordings } from '../hosts/recordings.ts'
import { framings } from '../src/framings.ts'
import { fetchOf, sending, serviceOver } from './in-process.ts'
import { plain, readers } from './readers.ts'

const recordings = await readRecordings()
const streams = recordings.filter(({ status }) => status === 200)
const answers = streams.filter(({ expected }) => expected.errors.length === 0)
const failures = streams.filter(({ expected }) => expected.errors.length > 0)
const refusals = recordings.filter(({ status }) => status !== 200)

/** Byte by byte the longest ones would take minutes, and say nothing that the others do not. */
const LONGEST_BY_BYTES = 12_000

/** A `fetch` to a service whose model's server plays a recording. */
function playing(
  { bytes, status, contentType }: { bytes: Uint8Array; status: number; contentType: string },
  framing = 'in one piece',
): typeof fetch {
  const way = framings[framing]!
  const pieces = () => way({ bytes: new Uint8Array(bytes) })
  return fetchOf(serviceOver(sending(() => ({ status, contentType, pieces: pieces() }))))
}

const ways = Object.keys(framings)

describe.skipIf(recordings.length === 0)('a recorded answer', () => {
  describe.each(Object.entries(readers))('read with %s', (_, read) => {
    test.each(ways)('%s, is what it was', async (way) => {
      const played = answers.filter(
        ({ bytes }) => !way.includes('byte by byte') || bytes.length <= LONGEST_BY_BYTES,
      )
      for (const recording of played) {
        const heard = await read(playing(recording, way))

        const { text, reasoning, refusal, toolCalls, finishReason, usage } = recording.expected
        const said = { text, reasoning, refusal, toolCalls, finishReason, usage }
        expect({ name: recording.name, ...plain(heard) }).toEqual({ name: recording.name, ...plain(said) })
      }
      expect(played.length).toBeGreaterThan(10)
    })

    test('that is cut before its end, is a failure and never looks whole', async () => {
      for (const recording of answers) {
        const end = recording.bytes.toString('latin1').search(/"finish_reason": ?"/)
        for (const part of [0.2, 0.5, 0.8, 1]) {
          const bytes = recording.bytes.subarray(0, Math.floor(end * part))

          const reading = read(playing({ ...recording, bytes }))

          await expect(reading, `${recording.name} at ${part}`).rejects.toThrow()
        }
      }
    })

    test.each(failures)('$name fails, with no answer that looks whole', async (recording) => {
      await expect(read(playing(recording))).rejects.toThrow()
    })

    test.each(refusals)('$name is a failure', async (recording) => {
      await expect(read(playing(recording))).rejects.toThrow()
    })
  })
})

describe.skipIf(recordings.length === 0)('a recorded refusal is for the official client', () => {
  const classes = {
    400: OpenAI.BadRequestError,
    401: OpenAI.InternalServerError, // our key, not theirs
    404: OpenAI.NotFoundError,
    429: OpenAI.RateLimitError,
  } as const

  test.each(refusals)('$name the error it is', async ({ name, ...recording }) => {
    const client = new OpenAI({
      baseURL: 'http://relay.test/v1',
      apiKey: 'none',
      maxRetries: 0,
      fetch: playing(recording),
    })

    const asking = client.chat.completions.create({ model: 'm', messages: [{ role: 'user', content: name }] })

    const error: unknown = await asking.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(classes[recording.status as keyof typeof classes])
    expect(error).toMatchObject({ code: expect.any(String) as unknown, type: expect.any(String) as unknown })
    expect((error as Error).message).not.toMatch(/sk-|2345/)
  })
})
