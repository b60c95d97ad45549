import { closing } from './answers.ts'
import { RequestError } from './errors.ts'
import { createExchange, toSteps } from './exchange.ts'
import { chooseFault, faultList } from './faults.ts'
import type { ChosenFault } from './faults.ts'
import type { ApiName } from './faults/fault.ts'
import type { Step } from './play.ts'
import { planReply } from './reply.ts'
import { isObject, readChat } from './request.ts'
import { readPrompt } from './prompt.ts'
import { createResponsesExchange } from './responses/exchange.ts'
import { readResponsesRequest } from './responses/request.ts'

/** What the answer to every request of one simulator depends on. */
export interface ChatOptions {
  readonly seed: number
  readonly model: string
  readonly fault: string | undefined
  readonly origin: string
  readonly created: () => number
}

/** What the server is going to do about one request. */
export interface Plan {
  readonly steps: readonly Step[]
  /** The name of the fault that happens, if one does. */
  readonly fault: string | undefined
}

/** Decides what each chat request gets. */
export interface Planner {
  /** @throws RequestError when the request is wrong. */
  plan(body: unknown, header: string | undefined, api: ApiName): Plan
}

/** What differs between the APIs: how a request is read, and how an answer is laid out. */
const apis = {
  chat: { read: readChat, layOut: createExchange },
  responses: { read: readResponsesRequest, layOut: createResponsesExchange },
} as const satisfies Record<ApiName, object>

/** Creates the planner of one simulator; it remembers how often faults with `times` have happened. */
export function createPlanner({ seed, model, fault: fallback, origin, created }: ChatOptions): Planner {
  const happened = new Map<string, number>()

  function happens(chosen: ChosenFault, messages: unknown): boolean {
    if (chosen.times === Infinity) return true
    // Counted per conversation: a retry repeats it word for word, the next test or the next question does not.
    const key = `${chosen.spec} ${JSON.stringify(messages)}`
    const count = happened.get(key) ?? 0
    happened.set(key, count + 1)
    if (happened.size > 1000) happened.delete([...happened.keys()][0] ?? '')
    return count < chosen.times
  }

  return {
    plan(body, header, name) {
      const api = apis[name]
      const chat = api.read(body)
      const wish = isObject(chat.raw['simulator']) ? chat.raw['simulator'] : {}
      const prompt = readPrompt(chat).full
      const chosen = chooseFault({ body: wish, header, prompt, fallback })
      const active = chosen && happens(chosen, chat.raw['messages']) ? chosen : undefined
      const text = /(?:^|\s)fault:list\b/.test(prompt) ? `${faultList()}\n\n${closing}` : wish['text']
      const planned = planReply(chat, {
        seed,
        model,
        created: created(),
        needs: active?.fault.needs,
        text: typeof text === 'string' ? text : undefined,
      })
      if (active?.fault.streamOnly && !chat.stream) {
        const message = `The fault '${active.fault.name}' is about streams: ask with stream: true.`
        throw new RequestError(400, message, 'stream', 'stream_only_fault')
      }
      if (active?.fault.api && active.fault.api !== name) {
        const message = `The fault '${active.fault.name}' is about the events of the other API.`
        throw new RequestError(400, message, 'simulator.fault', 'unknown_fault')
      }
      const reply = active?.fault.alter?.(planned, active.params) ?? planned
      const exchange = api.layOut(chat, reply, origin)
      const steps = active?.fault.play?.(exchange, active.params) ?? toSteps(exchange, exchange.frames)
      return { steps, fault: active?.fault.name }
    },
  }
}
