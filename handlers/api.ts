// The buffered function: an HTTP API, which cannot stream. Health, models, and whole answers as JSON.
import serverless from 'serverless-http'
import { createApp } from './app.ts'
import { readFunctionOptions } from './options.ts'
import { openRedis } from './redis.ts'
import { requireModel } from './require-model.ts'
import { wire } from './wire.ts'

/** An HTTP API gives up after 30 s (API Gateway quotas); an answer has to be an answer before that. */
const LONGEST_ANSWER_MS = 26_000

const options = readFunctionOptions(process.env)
requireModel(options)
const { handler: answer } = wire(options, {
  streamingElsewhere: options.chatUrl ?? '',
  totalTimeoutMs: Math.min(options.totalTimeoutMs, LONGEST_ANSWER_MS),
  lingerMs: 0,
  ...(options.redisUrl
    ? { store: openRedis({ ...options, redisUrl: options.redisUrl, freezes: true }) }
    : {}),
})

export const handler = serverless(createApp(answer, options))
