import { isObject, kindOf } from './checks.ts'
import { ChatError } from './errors.ts'
import { tell } from './report.ts'
import { isStandard, type SchemaCheck, type StandardSchema, toCheck, toJsonSchema } from './schema.ts'
import type { ChatDelta, Fields, ToolCall, ToolSpec } from './types.ts'

/**
 * Something the model may call. With `execute` this service runs it; without, the call is the client's.
 *
 * `schema` says what the arguments are: a schema of a library that follows https://standardschema.dev, or JSON
 * Schema. What the model is told of them is `parameters`; absent: what `schema` says of itself.
 */
export interface Tool {
  /** Up to 64 letters, digits, `_` and `-`. */
  readonly name: string
  /** What it is good for, in words for the model. */
  readonly description?: string | undefined
  readonly schema: StandardSchema | Fields
  readonly parameters?: Fields | undefined
  /** Asks the model's server to keep to the schema, where it can. */
  readonly strict?: boolean | undefined
  /**
   * Runs the call; the arguments fit `schema`. What it gives, at once or later, goes to the model: a text as it
   * is, anything else as JSON, undefined as null. What has no JSON, such as a Map, an iterator or a Response, is a
   * failure. A `ToolError` says what went wrong; of any other failure the model learns only that the tool failed.
   */
  execute?(args: unknown, context: ToolContext): unknown
}

export interface ToolContext {
  /** Aborts when nobody waits for the result any more. */
  readonly signal: AbortSignal
  readonly callId: string
}

/** What the arguments are after a schema checked them. */
export type ArgumentsOf<Schema> = Schema extends StandardSchema<infer _, infer Output> ? Output : Fields

/** Gives a tool back as it is: the arguments of `execute` have the type that `schema` makes. */
export function defineTool<const Schema extends StandardSchema | Fields>(
  tool: Omit<Tool, 'schema' | 'execute'> & {
    readonly schema: Schema
    execute?(args: ArgumentsOf<Schema>, context: ToolContext): unknown
  },
): Tool {
  return tool
}

/** What a tool throws to tell the model, and the reader, in a sentence what went wrong. */
export class ToolError extends Error {
  override readonly name = 'ToolError'
}

/** What a tool answered. */
export type ToolResult = Extract<ChatDelta, { type: 'tool-result' }>

/** Tools after they were checked. */
export interface Toolbox {
  /** As a model is told of them. `streamChat` adds them to what a request brings. */
  readonly specs: readonly ToolSpec[]
  /** Names of the tools that run in the client. */
  readonly clientNames: ReadonlySet<string>
  /** Names of the tools that this service runs. */
  readonly serverNames: ReadonlySet<string>
  /** Whether this service runs the tool of this name. */
  runs(name: string): boolean
  /** Checks the arguments and runs the tool. What goes wrong is a result too: it never rejects. */
  run(call: ToolCall, options: RunOptions): Promise<ToolResult>
}

export interface RunOptions {
  readonly signal: AbortSignal
  /** Told of a tool that threw something else than a `ToolError`; its `cause` is what it threw. */
  readonly onError?: ((error: ChatError) => void) | undefined
  /** Told right before the tool runs: the arguments fit. */
  readonly onRun?: (() => void) | undefined
}

/** As many as OpenAI's API takes. */
const MAX_TOOLS = 128
/** Characters of the arguments of one call: to check more could hold up everybody else. */
const MAX_ARGUMENTS = 65_536
/** Of what is wrong with arguments, the model is told this many things. */
const MAX_PROBLEMS = 5

/** Checks tools once, at the start. @throws `ChatError` `invalid-request` that names the tool and what is wrong. */
export function createToolbox(tools: readonly Tool[]): Toolbox
export function createToolbox(tools: readonly Tool[] | undefined): Toolbox | undefined
export function createToolbox(tools: readonly Tool[] | undefined): Toolbox | undefined {
  if (tools === undefined) return undefined
  requireArray(tools)
  if (tools.length > MAX_TOOLS) {
    throw wrong('tools', `may hold at most ${MAX_TOOLS} tools; got ${tools.length}.`)
  }
  const names = new Set<string>()
  const checks = new Map<string, { readonly tool: Tool; readonly check: SchemaCheck }>()
  const specs: ToolSpec[] = []
  for (const [index, tool] of tools.entries()) {
    const at = `tools[${index}]`
    if (!isObject(tool)) throw wrong(at, `must be a tool; got ${kindOf(tool)}.`)
    requireName(tool.name, `${at}.name`)
    if (names.has(tool.name)) throw wrong(`${at}.name`, `must be unique; there are two tools "${tool.name}".`)
    names.add(tool.name)
    const { spec, check } = readTool(tool, at)
    specs.push(spec)
    if (tool.execute) checks.set(tool.name, { tool, check })
  }

  return {
    specs,
    clientNames: new Set([...names].filter((name) => !checks.has(name))),
    serverNames: new Set(checks.keys()),
    runs: (name) => checks.has(name),
    async run({ id, name, arguments: text }, { signal, onError, onRun }) {
      try {
        const { tool, check } = checks.get(name) ?? notHere(name)
        const args = await checkedArguments(text, check)
        signal.throwIfAborted()
        onRun?.()
        return { type: 'tool-result', id, result: toJson(await tool.execute?.(args, { signal, callId: id })) }
      } catch (error) {
        if (error instanceof ToolError) return failedResult(id, error.message)
        // After an abort it is most often the abort itself, and nobody is interested.
        if (!signal.aborted) {
          tell(onError, new ChatError('internal', `The tool "${name}" failed.`, { cause: error }))
        }
        return failedResult(id, 'The tool failed.')
      }
    },
  }
}

/** The result of a call that went wrong, or was not run: a sentence for the model and the reader. */
export function failedResult(id: string, sentence: string): ToolResult {
  return { type: 'tool-result', id, result: sentence, isError: true }
}

/**
 * Refuses a request that brings a tool of a name that this service runs itself, or more than there may be with those
 * of the service.
 *
 * @throws `ChatError` `invalid-request` that names `tools[i].function.name`, or `limit-exceeded` that names `tools`.
 */
export function requireOwnNames(tools: readonly ToolSpec[] | undefined, toolbox: Toolbox | undefined): void {
  if (!tools || !toolbox) return
  const index = tools.findIndex(({ name }) => toolbox.runs(name))
  if (index !== -1) {
    const text = `must not be a name that this service uses itself; got "${tools[index]?.name}". Choose another one.`
    throw wrong(`tools[${index}].function.name`, text)
  }
  const names = new Set([...toolbox.specs, ...tools].map(({ name }) => name))
  if (names.size <= MAX_TOOLS) return
  const more = names.size - tools.length
  const text = `\`tools\` may hold at most ${MAX_TOOLS - more} tools beside ${more} of this service; got ${tools.length}.`
  throw new ChatError('limit-exceeded', text, { param: 'tools' })
}

/** The arguments of a call, in words a model can act on when they are not JSON. @throws `ToolError`. */
export function parseArguments(text: string): Fields {
  if (text.length > MAX_ARGUMENTS) {
    throw new ToolError(`The arguments may have at most ${MAX_ARGUMENTS} characters; got ${text.length}.`)
  }
  let value: unknown
  try {
    // A tool without arguments is often called with none at all. What would set a prototype, when a tool copies
    // its arguments, is left out.
    value =
      text.trim() === ''
        ? {}
        : JSON.parse(text, (key, inner: unknown) => (key === '__proto__' ? undefined : inner))
  } catch (error) {
    throw new ToolError('The arguments are not valid JSON. Call the tool again with one JSON object.', {
      cause: error,
    })
  }
  if (isObject(value)) return value
  throw new ToolError(`The arguments must be one JSON object; got ${kindOf(value)}.`)
}

function readTool(tool: Tool, at: string): { readonly spec: ToolSpec; readonly check: SchemaCheck } {
  const { name, description, schema, strict, execute } = tool
  if (execute !== undefined && typeof execute !== 'function') {
    throw wrong(`${at}.execute`, `of "${name}" must be a function, or absent; got ${kindOf(execute)}.`)
  }
  if (!isStandard(schema) && !isObject(schema)) {
    throw wrong(
      `${at}.schema`,
      `of "${name}" must be a Standard Schema or JSON Schema; got ${kindOf(schema)}.`,
    )
  }
  try {
    const parameters = toJsonSchema(tool.parameters ?? schema)
    if (!parameters) {
      const text = `of "${name}" must be set: its schema (${vendorOf(schema)}) cannot say itself as JSON Schema.`
      throw wrong(`${at}.parameters`, text)
    }
    if (parameters['type'] !== 'object') {
      const text = `of "${name}" must describe an object; for a tool without arguments {"type":"object","properties":{}}.`
      throw wrong(tool.parameters ? `${at}.parameters` : `${at}.schema`, text)
    }
    return { spec: { name, description, parameters, strict }, check: toCheck(schema) }
  } catch (error) {
    if (error instanceof ChatError) throw error
    const why = error instanceof Error ? error.message : String(error)
    throw wrong(`${at}.schema`, `of "${name}" cannot be used: ${why}`, error)
  }
}

function requireArray(tools: unknown): void {
  if (!Array.isArray(tools)) throw wrong('tools', `must be an array; got ${kindOf(tools)}.`)
}

function vendorOf(schema: StandardSchema | Fields): string {
  return isStandard(schema) ? schema['~standard'].vendor : 'JSON Schema'
}

function requireName(name: unknown, at: string): void {
  if (typeof name === 'string' && /^[a-zA-Z0-9_-]{1,64}$/.test(name)) return
  const got = typeof name === 'string' ? JSON.stringify(name.slice(0, 80)) : kindOf(name)
  throw wrong(at, `must be 1 to 64 letters, digits, "_" or "-"; got ${got}.`)
}

function wrong(param: string, text: string, cause?: unknown): ChatError {
  return new ChatError('invalid-request', `\`${param}\` ${text}`, { param, cause })
}

function notHere(name: string): never {
  throw new ToolError(`This service does not run a tool "${name}".`)
}

async function checkedArguments(text: string, check: SchemaCheck): Promise<unknown> {
  const checked = await check(parseArguments(text))
  if ('value' in checked) return checked.value
  const problems = checked.problems.slice(0, MAX_PROBLEMS).join(' ').slice(0, 1000)
  throw new ToolError(`The arguments do not fit the tool's schema. ${problems}`)
}

/** What JSON makes of a value: a copy that nobody changes later. @throws for what has no JSON, and for a cycle. */
function toJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null, (_, inner: unknown) => requireJson(inner)))
}

// JSON would make nothing, or `{}`, of these, which looks like a result.
function requireJson(value: unknown): unknown {
  const isOdd =
    typeof value === 'function' || typeof value === 'symbol' || (isObject(value) && isOpaque(value))
  if (!isOdd) return value
  const kind = Object.prototype.toString.call(value).slice('[object '.length, -1)
  throw new TypeError(`A tool must give what JSON can say; got something of the kind ${kind}.`)
}

/** Whether what an object holds is not in its fields: errors, collections, iterators, streams, responses. */
function isOpaque(value: object): boolean {
  if (value instanceof Error || Symbol.iterator in value || Symbol.asyncIterator in value) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  // Of any realm: what a plain object inherits from inherits from nothing.
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null
  return !isPlain && Object.keys(value).length === 0
}
