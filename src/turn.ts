import { type CallPiece, createCalls, type HeardCall } from './calls.ts'
import type { ChatError } from './errors.ts'
import { race } from './race.ts'
import { failedResult, parseArguments, type Toolbox, type ToolResult } from './tools.ts'
import type { ChatDelta, ChatMessage, ChatRequest, UpstreamDelta } from './types.ts'
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
  /** What the steps so far have cost, where the upstream said. */
  readonly usage: readonly UsageDelta[]
  /** Takes what the model says, other than its `finish`. Gives what is passed on, if anything. */
  hear(delta: Exclude<UpstreamDelta, Finish>): ChatDelta | undefined
  /** Ends the step. Gives the last deltas of the reply; none when calls are to be answered first. */
  finish(finish: Finish): readonly ChatDelta[]
  /** Runs the calls and gives their results as they come; then the next step begins, or the reply ends. */
  answer(signal: AbortSignal): AsyncGenerator<ChatDelta>
}

/** Begins with the first step. */
export function createTurn(asked: ChatRequest, options: TurnOptions): Turn {
  const { id, maxSteps = 8, onToolError } = options
  const tools = options.tools?.specs.length ? options.tools : undefined
  const offered = tools ? withTools(asked, tools) : asked
  const names = new Set(offered.tools?.map(({ name }) => name))
  // A call of a name that nobody knows is answered too: with a list of those that exist.
  const isServer = (name: string) => tools !== undefined && (tools.runs(name) || !names.has(name))
  const calls = createCalls(id, isServer, callIds(asked))
  const spent = new Map<number, UsageDelta>()
  let step = 1
  let request = tools ? { ...offered, toolChoice: choiceOf() } : offered
  let state: Turn['state'] = 'asking'
  let text = ''
  let reasoning = ''
  let heard: readonly HeardCall[] = []
  /** Of those, the ones that are answered here. */
  let ours: readonly HeardCall[] = []

  // A tool that must be called would be called again and again; and the last step is for words.
  function choiceOf(): ChatRequest['toolChoice'] {
    if (step >= maxSteps) return 'none'
    const { toolChoice } = asked
    return step === 1 || toolChoice === 'none' ? toolChoice : undefined
  }

  function close(finish: Finish, results: readonly ToolResult[] = []): readonly ChatDelta[] {
    state = 'over'
    return [...results, ...sumUsage(spent.values()), finish]
  }

  // A call that is never answered would make the conversation one that servers refuse.
  function closeWithout(why: string, finish: Finish): readonly ChatDelta[] {
    const results = ours.map((call) => failedResult(call.id, why))
    return close(finish, results)
  }

  async function run(call: HeardCall, toolbox: Toolbox, signal: AbortSignal): Promise<ToolResult> {
    if (asked.toolChoice === 'none') return failedResult(call.id, 'Tools must not be used in this answer.')
    if (toolbox.runs(call.name)) return toolbox.run(call, { signal, onError: onToolError })
    return failedResult(call.id, unknownTool(call.name, names))
  }

  function proceed(results: ReadonlyMap<string, ToolResult>): void {
    step++
    const messages = [...request.messages, ...toMessages({ text, reasoning }, heard, results)]
    request = { ...request, messages, toolChoice: choiceOf() }
    text = ''
    reasoning = ''
    state = 'asking'
  }

  return {
    get request() {
      return request
    },
    get state() {
      return state
    },
    get usage() {
      return sumUsage(spent.values())
    },

    hear(delta) {
      switch (delta.type) {
        case 'text':
          if (tools) text += delta.text
          return delta
        case 'reasoning':
          if (tools) reasoning += delta.text
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
      if (ours.length === 0) return close(finish)
      if (finish.reason !== 'tool-calls' && finish.reason !== 'stop') {
        return closeWithout('The tool was not run: the answer ended before the call was complete.', finish)
      }
      if (step >= maxSteps) {
        const why = `The tool was not run: this answer has used all of its ${maxSteps} steps.`
        const last: Finish = { type: 'finish', reason: 'other', raw: 'max-steps' }
        return closeWithout(why, ours.length === heard.length ? last : finish)
      }
      state = 'calling'
      return []
    },

    async *answer(signal) {
      if (!tools) return
      const results = new Map<string, ToolResult>()
      const tasks = ours.map((call) => (own: AbortSignal) => run(call, tools, own))
      for await (const result of race(tasks, signal)) {
        results.set(result.id, result)
        yield result
      }
      if (signal.aborted) return
      if (ours.length < heard.length) yield* close({ type: 'finish', reason: 'tool-calls' })
      else proceed(results)
    },
  }
}

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
    return { id, name, arguments: sendable(args), ...(extra ? { extra } : {}) }
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

function unknownTool(name: string, names: ReadonlySet<string>): string {
  const list = names.size > 0 ? `The tools are: ${[...names].join(', ')}.` : 'There are no tools.'
  return `There is no tool ${JSON.stringify(name.slice(0, 64))}. ${list}`
}
