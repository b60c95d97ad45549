import { ChatError } from '../errors.ts'
import { isJson } from './body.ts'
import { type CompletionParser, createCompletionParser } from './completion.ts'
import { failureInStream } from './failure.ts'
import type { EventReader } from './reader.ts'

/**
 * Creates the parser that the body of a response needs, as its headers describe it.
 *
 * @throws `ChatError` when it is no stream: an error report, a document, a web page.
 */
export async function parserFor(
  response: Response,
  reader: EventReader,
  maxEventBytes: number,
): Promise<CompletionParser> {
  const type = response.headers.get('content-type') ?? 'text/event-stream'
  if (isJson(response)) throw await failureOfJson(response)
  if (/^\s*text\/html\b/i.test(type)) {
    const message = "The model's server answered with a web page instead of a stream. Check the base URL."
    throw new ChatError('upstream-bad-response', message)
  }
  const charset = /charset\s*=\s*"?([^";\s]+)/i.exec(type)?.[1]
  try {
    return createCompletionParser({ reader, maxEventBytes, ...(charset ? { charset } : {}) })
  } catch (cause) {
    throw new ChatError('upstream-bad-response', "The model's server uses an unknown charset.", { cause })
  }
}

/** A JSON document where a stream was asked for: an error report, or a server that does not stream. */
async function failureOfJson(response: Response): Promise<ChatError> {
  let body: unknown
  try {
    body = JSON.parse(await response.text())
  } catch {
    body = undefined // cut, or not JSON at all: said below
  }
  const report = failureInStream(body)
  const text = "The model's server answered with JSON instead of a stream."
  return report ?? new ChatError('upstream-bad-response', text)
}
