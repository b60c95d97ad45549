// The streaming function: a function URL with `InvokeMode: RESPONSE_STREAM`. Reads the environment, wires, exports.
import { toLambda } from '../adapters/lambda.ts'
import { type Options, readFunctionOptions } from './options.ts'
import { pageIn } from './page.ts'
import { requireModel } from './require-model.ts'
import { wire } from './wire.ts'

const options = readFunctionOptions(process.env)
requireModel(options)

/** Whoever follows an answer that another invocation writes holds one of its own: it comes again after a while. */
const FOLLOW_MS = 60_000

const { handler: answer } = wire(options, {
  page: pageIn(new URL('./web/', import.meta.url), options),
  followMs: options.followMs ?? FOLLOW_MS,
  ...(await shared(options)),
})

// Loaded only where it is used: init is paid for. It connects meanwhile, and is waited for by the first request.
async function shared({ redisUrl, ...rest }: Options) {
  if (!redisUrl) return {}
  const { openRedis } = await import('./redis.ts')
  return { store: openRedis({ ...rest, redisUrl, freezes: true }) }
}

export const handler = toLambda(answer)
