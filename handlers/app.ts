import type { RequestListener } from 'node:http'
import express, { type Request, type Response } from 'express'
import { toExpress } from '../adapters/express.ts'
import type { Handler } from '../src/types.ts'
import type { Options } from './options.ts'

/** Express around a handler. What is not ours is answered by the handler itself, as JSON. */
export function createApp(handler: Handler, options: Options): RequestListener {
  const relay = toExpress(handler, options)
  const app = express()
  app.disable('x-powered-by')
  // The client's address is then the one that the outermost of these proxies saw; any before it could be forged.
  app.set('trust proxy', options.trustedProxies)
  app.use((request, response) => relay(request, response))
  return (request, response) => {
    // Express makes them its own. Its last word, where an address makes no sense to it, would be a web page.
    app(request as Request, response as Response, () => void relay(request, response))
  }
}
