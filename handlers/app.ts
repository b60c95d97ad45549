import express, { type Express } from 'express'
import { toExpress } from '../adapters/express.ts'
import type { Handler } from '../src/types.ts'
import type { Options } from './options.ts'

/** The Express app around a handler. What is not ours is answered by the handler itself, as JSON. */
export function createApp(handler: Handler, options: Options): Express {
  const relay = toExpress(handler, options)
  const app = express()
  app.disable('x-powered-by')
  app.use((request, response) => relay(request, response))
  return app
}
