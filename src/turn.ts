import { bytesOfValue } from './memory.ts'
import { createText } from './text.ts'
import { type CallPiece, createCalls, type HeardCall } from './calls.ts'
import { ChatError } from './errors.ts'
import { race } from './race.ts'
import { tell } from './report.ts'
import { failedResult, parseArguments, type Toolbox, type ToolResult } from './tools.ts'
import type { ChatDelta, ChatMessage, ChatRequest, Mutable, UpstreamDelta } from './types.ts'
import { sumUsage, type UsageDelta } from './usage.ts'

type Finish = Extract<UpstreamDelta, { type: 'finish' }>

export interface TurnOptions {
  /** The reply's id. */
  readonly id: string
  /** The tools of this service; every call is the client's without. */
  readonly tools?: Toolbox | undefined
  /** How often the model is asked within one reply. Default 8. */
  readonly maxSteps?: number | undefined
  /** Told of a tool that failed in a way it did not explain. */
  readonly onToolError?: ((error: ChatError) => void) | undefined
  /** Told whenever a tool of this service begins to run. */
  readonly onToolRun?: (() => void) | undefined
  /** Receives how many bytes more of memory the turn takes. */
  readonly onHold?: ((bytes: number) => void) | undefined
}

/**
 * What a reply knows across its steps. A step is one answer of the model; when it calls tools of this service,
 * their results are the next step's question.
 */
export interface Turn {
  /** What the model is asked in this step. */
  readonly request: ChatRequest
  /** `calling`: the step is whole and its calls are to be answered. `over`: nothing can follow. */
  readonly state: 'asking' | 'calling' | 'over'
  /** Whether a tool of this service has run: the whole reply, asked for again, would run it again. */
  readonly ran: boolean
  /** After `finish`: the whole calls of the step that the client runs with tools of this service. */
  readonly clientCalls: readonly HeardCall[]
  /** What the steps so far have cost, where the upstream said. */
  usage(): readonly UsageDelta[]
  /** Takes what the model says, other than its `finish`. Gives what is passed on, if anything. */
  hear(delta: Exclude<UpstreamDelta, Finish>): ChatDelta | undefined
  /** Ends the step. Gives the last deltas of the reply; none when calls are to be answered first. */
  finish(finish: Finish): readonly ChatDelta[]
  /** Runs the calls and gives their results as they come; then the next step begins, or the reply ends. */
  answer(signal: AbortSignal): AsyncGenerator<ChatDelta>
}

/** Calls that one step may have run. */
const MAX_CALLS = 128
/** A limit below this is refused by OpenAI's Responses API, and hardly an answer fits in. */
const MIN_TOKENS = 16

/** @throws `ChatError` `invalid-request` unless it is a whole number from 1 on, or Infinity. */
export function requireMaxSteps(maxSteps: number): void {
  if (maxSteps === Infinity || (Number.isSafeInteger(maxSteps) && maxSteps >= 1)) return
  const text = `\`maxSteps\` must be a whole number from 1 on, or Infinity; got ${String(maxSteps)}.`
  throw new ChatError('invalid-request', text, { param: 'maxSteps' })
}

/** Begins with the first step. @throws `ChatError` for `maxSteps` that is none. */
export function createTurn(asked: ChatRequest, options: TurnOptions): Turn {
  const { id, maxSteps = 8, onToolError, onToolRun, onHold } = options
  requireMaxSteps(maxSteps)
  const tools = options.tools?.specs.length ? options.tools : undefined
  const offered = tools ? withTools(asked, tools) : asked
  const names = new Set(offered.tools?.map(({ name }) => name))
  // A call of a name that nobody knows is answered too: with a list of those that exist.
  const isServer = (name: string) => tools !== undefined && (tools.runs(name) || !names.has(name))
  const calls = createCalls(id, { isServer, taken: callIds(asked), onHold })
  const spent = new Map<number, UsageDelta>()
  let step = 1
  let text = createText(onHold)
  let reasoning = createText(onHold)
  let heard: readonly HeardCall[] = []
  /** Of those, the ones that are answered here. */
  let ours: readonly HeardCall[] = []

  // A tool that must be called would be called again and again; and the last step is for words, or the client's calls.
  function toolsOfStep(toolbox: Toolbox): Pick<ChatRequest, 'tools' | 'toolChoice'> {
    const toolChoice = step === 1 || asked.toolChoice === 'none' ? asked.toolChoice : undefined
    if (step < maxSteps) return { tools: offered.tools, toolChoice }
    const others = offered.tools?.filter(({ name }) => !toolbox.runs(name)) ?? []
    if (others.length === 0) return { tools: offered.tools, toolChoice: 'none' }
    const isGone = typeof toolChoice === 'object' && toolbox.runs(toolChoice.name)
    return { tools: others, toolChoice: isGone ? undefined : toolChoice }
  }

  /** The tokens that the steps so far have left, where the request limits them. */
  function tokensLeft(): number | undefined {
    if (asked.maxOutputTokens === undefined) return undefined
    return [...spent.values()].reduce((left, { outputTokens }) => left - outputTokens, asked.maxOutputTokens)
  }

  function close(finish: Finish, results: readonly ToolResult[] = []): readonly ChatDelta[] {
    turn.state = 'over'
    return [...results, ...sumUsage(spent.values()), finish]
  }

  // A call that is never answered would make the conversation one that servers refuse.
  function closeWithout(why: string, finish: Finish): readonly ChatDelta[] {
    const results = ours.map(({ id, name }) => {
      return failedResult(id, tools?.runs(name) ? why : unknownTool(name, names))
    })
    return close(finish, results)
  }

  async function run(call: HeardCall, toolbox: Toolbox, signal: AbortSignal): Promise<ToolResult> {
    if (asked.toolChoice === 'none') return failedResult(call.id, 'Tools must not be used in this answer.')
    if (toolbox.runs(call.name)) return toolbox.run(call, { signal, onError: onToolError, onRun: noteRun })
    return failedResult(call.id, unknownTool(call.name, names))
  }

  function noteRun(): void {
    turn.ran = true
    tell(onToolRun)
  }

  function proceed(toolbox: Toolbox, results: ReadonlyMap<string, ToolResult>): void {
    step++
    const said = { text: text.whole(), reasoning: reasoning.whole() }
    const messages = [...turn.request.messages, ...toMessages(said, heard, results)]
    for (const { result } of results.values()) onHold?.(2 * bytesOfValue(result))
    turn.request = { ...turn.request, messages, ...toolsOfStep(toolbox), maxOutputTokens: tokensLeft() }
    text = createText(onHold)
    reasoning = createText(onHold)
    turn.state = 'asking'
  }

  const turn: Mutable<Turn> = {
    request: tools ? { ...offered, ...toolsOfStep(tools) } : offered,
    state: 'asking',
    ran: false,
    clientCalls: [],

    usage: () => sumUsage(spent.values()),

    hear(delta) {
      switch (delta.type) {
        case 'text':
          if (tools) text.add(delta.text)
          return delta
        case 'reasoning':
          if (tools) reasoning.add(delta.text)
          return delta
        case 'tool-call':
          return calls.read(delta satisfies CallPiece)
        case 'usage':
          spent.set(step, delta)
          return undefined
        default:
          return delta
      }
    },

    finish(finish) {
      heard = calls.take()
      ours = heard.filter(({ server }) => server)
      // The arguments of other answers may have been cut: a client does not run such calls.
      if (finish.reason === 'tool-calls' || finish.reason === 'stop') {
        turn.clientCalls = heard.filter(({ server, name }) => !server && tools?.clientNames.has(name))
      }
      if (ours.length === 0) return close(finish)
      if (finish.reason !== 'tool-calls' && finish.reason !== 'stop') {
        return closeWithout('The tool was not run: the answer ended before the call was complete.', finish)
      }
      if (ours.length < heard.length) {
        // What it gave could not be told to the model when the client comes with its own results.
        return closeWithout(besideClient, { type: 'finish', reason: 'tool-calls' })
      }
      if (step >= maxSteps) {
        const why = `The tool was not run: this answer has used all of its ${maxSteps} steps.`
        return closeWithout(why, { type: 'finish', reason: 'other', raw: 'max-steps' })
      }
      if ((tokensLeft() ?? Infinity) < MIN_TOKENS) {
        const why = `The tool was not run: this answer has used up its ${asked.maxOutputTokens} tokens.`
        return closeWithout(why, { type: 'finish', reason: 'length' })
      }
      turn.state = 'calling'
      return []
    },

    async *answer(signal) {
      if (!tools) return
      const results = new Map<string, ToolResult>()
      const tasks = ours.map((call, at) => async (own: AbortSignal) => {
        return at < MAX_CALLS ? run(call, tools, own) : failedResult(call.id, tooMany)
      })
      for await (const result of race(tasks, signal)) {
        results.set(result.id, result)
        yield result
      }
      if (signal.aborted) return
      proceed(tools, results)
    },
  }
  return turn
}

const besideClient =
  'The tool was not run in the same step as calls of the client. Call it again if it is still needed.'
const tooMany = `The tool was not run: one step may call at most ${MAX_CALLS} tools. Call it again if it is still needed.`

function callIds({ messages }: ChatRequest): readonly string[] {
  return messages.flatMap((message) => {
    return message.role === 'assistant' ? (message.toolCalls ?? []).map(({ id }) => id) : []
  })
}

// What the request brings comes last: a beginning that stays the same is cheaper for most servers.
function withTools(request: ChatRequest, { specs }: Toolbox): ChatRequest {
  const own = request.tools ?? []
  const missing = specs.filter(({ name }) => !own.some((tool) => tool.name === name))
  return { ...request, tools: [...missing, ...own] }
}

/** What the model said in a step, and what its calls gave, in the order of the calls. */
function toMessages(
  { text, reasoning }: { readonly text: string; readonly reasoning: string },
  heard: readonly HeardCall[],
  results: ReadonlyMap<string, ToolResult>,
): readonly ChatMessage[] {
  const toolCalls = heard.map(({ id, name, arguments: args, extra }) => {
    return { id, name: sendableName(name), arguments: sendable(args), ...(extra ? { extra } : {}) }
  })
  const answers = heard.map(({ id }): ChatMessage => {
    const result = results.get(id)?.result
    return {
      role: 'tool',
      toolCallId: id,
      content: typeof result === 'string' ? result : JSON.stringify(result),
    }
  })
  const thought = reasoning === '' ? {} : { reasoning }
  return [{ role: 'assistant', content: text, ...thought, toolCalls }, ...answers]
}

// Servers that read the arguments of earlier calls refuse a request where one is not JSON. The result says what
// was wrong.
function sendable(args: string): string {
  try {
    parseArguments(args)
    return args.trim() === '' ? '{}' : args
  } catch {
    return '{}'
  }
}

// A model can make up names that its own server refuses to hear again.
function sendableName(name: string): string {
  return name.replace(/[^a-zA-Z0-9_-]/g, '_').slice(0, 64)
}

function unknownTool(name: string, names: ReadonlySet<string>): string {
  const list = names.size > 0 ? `The tools are: ${[...names].join(', ')}.` : 'There are no tools.'
  return `There is no tool ${JSON.stringify(name.slice(0, 64))}. ${list}`
}
