// What the tests run under the real Lambda runtime: the adapter as it is, and around it what only a test asks.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import {
  type FunctionUrlEvent,
  type LambdaStream,
  type ServeOptions,
  toLambda,
} from '../../adapters/lambda.ts'
import type { Handler } from '../../src/types.ts'
import { createSubject, type SubjectLimits } from './subject.ts'

type Invoke = (event: FunctionUrlEvent, stream: LambdaStream, context: unknown) => Promise<void>
type Measured = LambdaStream & { readonly writableLength: number }

interface Runtime {
  streamifyResponse(handler: Invoke): unknown
  HttpResponseStream: { from: ServeOptions['from'] }
}

// Globals of the platform.
const { awslambda } = globalThis as unknown as { awslambda: Runtime }

let highest = 0
measureWrites(awslambda)
changeEvents(awslambda)

const subject = createSubject({
  baseURL: process.env['OPENAI_BASE_URL'] ?? '',
  page: new URL('./web/', import.meta.url),
  limits: JSON.parse(process.env['LIMITS'] ?? '{}') as SubjectLimits,
})

export const handler = toLambda(withState(subject))

/** `GET /state` tells what the process holds: bytes that waited to be sent, at most since the last look; the heap. */
function withState(inner: Handler): Handler {
  return async (request) => {
    if (request.url !== '/state') return inner(request)
    const body = JSON.stringify({ highest, resources: process.getActiveResourcesInfo(), heap: heapUsed() })
    highest = 0
    return { status: 200, headers: {}, body, settled: Promise.resolve() }
  }
}

function heapUsed(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}

function measureWrites(runtime: Runtime): void {
  const { from } = runtime.HttpResponseStream
  runtime.HttpResponseStream.from = (stream, head) => {
    const out = from(stream, head) as Measured // the runtime's stream has it
    const write = out.write as (chunk: string | Uint8Array, encoding: undefined, sent: () => void) => boolean
    let waiting = 0
    out.write = (chunk) => {
      const bytes = Buffer.byteLength(chunk)
      waiting += bytes
      const ready = write.call(out, chunk, undefined, () => (waiting -= bytes))
      // Its own figure counts the characters of strings, ours the bytes; it knows of what surrounds them.
      highest = Math.max(highest, waiting, out.writableLength)
      return ready
    }
    return out
  }
}

/** A header asks for what the emulator has no occasion to send: a text body as base64, an event that is no request. */
function changeEvents(runtime: Runtime): void {
  const { streamifyResponse } = runtime
  runtime.streamifyResponse = (inner) =>
    streamifyResponse((event, stream, context) => inner(changed(event), stream, context))
}

function changed(event: FunctionUrlEvent): FunctionUrlEvent {
  const wish = event.headers?.['x-event']
  if (wish === 'base64')
    return { ...event, body: Buffer.from(event.body ?? '').toString('base64'), isBase64Encoded: true }
  if (wish === 'no-body') return { ...event, body: undefined, isBase64Encoded: false }
  return event
}
