import { openai } from '../dialects/openai.ts'
import { ChatError } from '../errors.ts'
import { json } from '../http.ts'
import { listedModels, type PrepareOptions, requireModel } from '../prepare.ts'
import type { Call, Route } from '../router.ts'
import type { Service } from '../service.ts'
import type { HttpReply } from '../types.ts'

/** What other parts of OpenAI's API are asked for, and what there is instead. */
const elsewhere: Readonly<Record<string, string>> = {
  responses: 'Use POST /v1/chat/completions: the official client calls it chat.completions.create.',
  completions: 'Use POST /v1/chat/completions with `messages`.',
  embeddings: "Ask the model's own server for embeddings.",
}

type Models = Pick<PrepareOptions, 'model' | 'models'>

const { refuse } = openai

/** OpenAI's API, with and without `/v1`: chat completions, and a word about what there is not. */
export function completionRoutes(service: Service): readonly Route[] {
  async function complete({ request }: Call): Promise<HttpReply> {
    return service.answer(openai, await service.read(openai, request), request)
  }

  function point({ id }: Call): never {
    throw new ChatError('not-found', `There are no ${id} at this address. ${elsewhere[id]}`)
  }

  return [
    { method: 'POST', path: /^(?:\/v1)?\/chat\/completions\/?$/, answer: complete, refuse },
    { method: 'POST', path: /^(?:\/v1)?\/(responses|completions|embeddings)\/?$/, answer: point, refuse },
    { path: /^\/v1(?:\/|$)/i, refuse },
  ]
}

/** The models that a request may name, in OpenAI's words, which clients of every dialect know. */
export function modelRoutes(models: Models): readonly Route[] {
  function list(): HttpReply {
    return json(200, { object: 'list', data: listedModels(models).map(toModel) })
  }

  function retrieve({ id }: Call): HttpReply {
    requireModel(id, models)
    return json(200, toModel(id))
  }

  return [
    { method: 'GET', path: /^(?:\/v1)?\/models\/?$/, answer: list, refuse },
    { method: 'GET', path: /^(?:\/v1)?\/models\/(.+?)\/?$/, answer: retrieve, refuse },
  ]
}

/** OpenAI's API reference, "The model object". When a model was made is not known here. */
function toModel(id: string): object {
  return { id, object: 'model', created: 0, owned_by: 'deltarelay' }
}
