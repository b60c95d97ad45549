import { ChatError } from './errors.ts'
import { requireOwnNames, type Toolbox } from './tools.ts'
import type { ChatRequest, DialectRequest } from './types.ts'

export interface PrepareOptions {
  readonly model: string
  readonly models: readonly string[] | '*'
  readonly systemPrompt?: string | undefined
  /** Default 16384, which an upstream may leave out. */
  readonly maxOutputTokens?: number | undefined
  readonly tools?: Toolbox | undefined
}

/** What an answer may take where neither the operator nor the client says so. */
const DEFAULT_OUTPUT_TOKENS = 16_384

/**
 * Makes a request to a model of what a client asks: the model it may use, the tokens it may have, and the service's
 * own instructions before its conversation.
 *
 * @throws `ChatError` `model-not-allowed`, or `invalid-request` for a tool of a name that the service uses itself.
 */
export function createPrepare(options: PrepareOptions): (chat: DialectRequest['chat']) => ChatRequest {
  const { model: defaultModel, systemPrompt, maxOutputTokens = DEFAULT_OUTPUT_TOKENS, tools } = options
  const isDefault = options.maxOutputTokens === undefined
  return ({ model = defaultModel, ...chat }) => {
    requireModel(model, options)
    requireOwnNames(chat.tools, tools)
    const limit = Math.min(chat.maxOutputTokens ?? Infinity, maxOutputTokens)
    return {
      ...(chat.tools?.length || tools?.specs.length ? chat : withoutChoice(chat)),
      model,
      maxOutputTokens: limit === Infinity ? undefined : limit,
      ...(isDefault && chat.maxOutputTokens === undefined ? { limitIsDefault: true } : {}),
      ...(systemPrompt
        ? { messages: [{ role: 'system', content: systemPrompt }, ...chat.messages], ownMessages: 1 }
        : {}),
    }
  }
}

// Without tools these ask for nothing, and some servers refuse them then.
function withoutChoice<T extends Partial<ChatRequest>>(chat: T): Omit<T, 'parallelToolCalls'> {
  const { parallelToolCalls: _, ...rest } = chat
  const { toolChoice } = rest
  return toolChoice === 'auto' || toolChoice === 'none' ? { ...rest, toolChoice: undefined } : rest
}

/** The models that a request may name; of `'*'` only the default is known by name. */
export function listedModels({ model, models }: Pick<PrepareOptions, 'model' | 'models'>): readonly string[] {
  return models === '*' ? [model] : [...new Set([model, ...models])]
}

/** @throws `ChatError` `model-not-allowed`: names are compared as they are, in case and space too. */
export function requireModel(model: string, options: Pick<PrepareOptions, 'model' | 'models'>): void {
  const names = listedModels(options)
  if (options.models === '*' || names.includes(model)) return
  const listed = names.map((name) => `"${name}"`).join(', ')
  const text = `\`model\` must be one of ${listed}; got ${JSON.stringify(model.slice(0, 60))}.`
  throw new ChatError('model-not-allowed', text, { param: 'model' })
}
