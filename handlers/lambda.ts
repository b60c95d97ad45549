// The streaming function: a function URL with `InvokeMode: RESPONSE_STREAM`. Reads the environment, wires, exports.
import { toLambda } from '../adapters/lambda.ts'
import { readOptions } from './options.ts'
import { pageIn } from './page.ts'
import { requireModel } from './require-model.ts'
import { wire } from './wire.ts'

const options = readOptions(process.env)
requireModel(options)

export const handler = toLambda(wire(options, { page: pageIn(new URL('./web/', import.meta.url), options) }))
