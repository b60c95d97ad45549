// The streaming function as it is deployed; `GET /resources` tells what its process holds between two requests.
import type { FunctionUrlEvent, LambdaStream, ServeOptions } from '../../adapters/lambda.ts'

type Invoke = (event: FunctionUrlEvent, stream: LambdaStream, context: unknown) => Promise<void>

// A global of the platform.
const { awslambda: runtime } = globalThis as unknown as {
  awslambda: {
    streamifyResponse(handler: Invoke): unknown
    HttpResponseStream: { from: ServeOptions['from'] }
  }
}

const { streamifyResponse } = runtime
runtime.streamifyResponse = (inner) =>
  streamifyResponse((event, stream, context) =>
    event.rawPath === '/resources' ? tell(stream) : inner(event, stream, context),
  )

async function tell(stream: LambdaStream): Promise<void> {
  const out = runtime.HttpResponseStream.from(stream, { statusCode: 200, headers: {} })
  out.write(JSON.stringify(process.getActiveResourcesInfo()))
  out.end()
}

export const { handler } = await import('../../handlers/lambda.ts')
