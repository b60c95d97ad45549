import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ChatDelta } from '../../src/types.ts'

/** A stream or a refusal as it came over the wire, and what it says. */
export interface Recording {
  readonly name: string
  readonly status: number
  readonly contentType: string
  readonly bytes: Buffer
  readonly expected: Expected
}

/** What `index.json` says of a stream, in the vendor's words. */
export interface Expected {
  readonly text: string
  readonly reasoning: string
  readonly refusal: string
  readonly toolCalls: readonly { readonly id: string; readonly name: string; readonly arguments: string }[]
  readonly finishReason: string | null
  readonly usage: { readonly prompt: number; readonly completion: number } | null
  readonly errors: readonly unknown[]
}

/**
 * Reads the recordings in `RECORDINGS_DIR`. Without it there are none: said loudly, and a failure in CI, because a
 * stream that nobody played would otherwise look understood.
 */
export async function readRecordings(): Promise<readonly Recording[]> {
  const directory = process.env['RECORDINGS_DIR']
  if (!directory) {
    const text = 'Recorded streams are not played, because RECORDINGS_DIR is not set to their directory.'
    if (process.env['CI']) throw new Error(text)
    console.warn(`\nSKIPPED: ${text}\n`)
    return []
  }
  const index = JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')) as Omit<
    Recording,
    'bytes'
  >[]
  return Promise.all(
    index.map(async (entry) => {
      const extension = entry.status === 200 ? 'sse' : 'json'
      return { ...entry, bytes: await readFile(join(directory, `${entry.name}.${extension}`)) }
    }),
  )
}

/** What deltas say, in the shape and the words of `index.json`. */
export function heard(
  deltas: readonly ChatDelta[],
): Omit<Expected, 'errors'> & { readonly error: string | null } {
  const texts = { text: '', reasoning: '', refusal: '' }
  const toolCalls: { id: string; name: string; arguments: string }[] = []
  let finishReason: string | null = null
  let usage: Expected['usage'] = null
  let error: string | null = null
  for (const delta of deltas) {
    if (delta.type === 'text' || delta.type === 'reasoning' || delta.type === 'refusal')
      texts[delta.type] += delta.text
    if (delta.type === 'usage') usage = { prompt: delta.inputTokens, completion: delta.outputTokens }
    if (delta.type === 'finish') finishReason = delta.reason.replace('-', '_')
    if (delta.type === 'error') error = delta.code
    if (delta.type === 'tool-call') {
      const call = (toolCalls[delta.index] ??= { id: '', name: '', arguments: '' })
      call.id += delta.id ?? ''
      call.name += delta.name ?? ''
      call.arguments += delta.arguments
    }
  }
  return { ...texts, toolCalls, finishReason, usage, error }
}
