import * as ai7 from 'ai'
import * as ai5 from 'ai5'
import * as ai6 from 'ai6'
import type { ChatInit, ChatState, UIMessage, UIMessageChunk } from 'ai'

type Sdk = typeof ai7

/** The major versions of the AI SDK that we serve. They differ in their types only, as far as tests use them. */
export const sdks: readonly (readonly [name: string, sdk: Sdk])[] = [
  ['ai 5', ai5 as unknown as Sdk],
  ['ai 6', ai6 as unknown as Sdk],
  ['ai 7', ai7],
]

/** A chat of one version without a framework around it. */
export type Chat = ai7.AbstractChat<UIMessage>

/** Creates a chat as `useChat` does, with a plain object where React's state would be. */
export function createChat(sdk: Sdk, { messages = [], ...init }: ChatInit<UIMessage>): Chat {
  const state: ChatState<UIMessage> = {
    status: 'ready',
    error: undefined,
    messages: [...messages],
    pushMessage: (message) => void (state.messages = [...state.messages, message]),
    popMessage: () => void (state.messages = state.messages.slice(0, -1)),
    replaceMessage: (index, message) => void (state.messages = state.messages.with(index, { ...message })),
    snapshot: (thing) => structuredClone(thing),
  }
  // The class is abstract for each framework to bring its state; there is no other way to make one.
  class PlainChat extends sdk.AbstractChat<UIMessage> {}
  return new PlainChat({ ...init, state })
}

/** What a client's own schema says of a chunk: what is wrong with it, if anything. */
export async function problemOf(sdk: Sdk, chunk: unknown): Promise<unknown> {
  const result = await sdk.uiMessageChunkSchema().validate?.(chunk)
  return result?.success ? undefined : (result?.error ?? new Error('There is no check.'))
}

/** The message that a client makes of chunks, and the errors it met. */
export async function messageOf(
  sdk: Sdk,
  chunks: readonly unknown[],
): Promise<{ readonly message: UIMessage | undefined; readonly errors: readonly string[] }> {
  const errors: string[] = []
  const stream = new ReadableStream<UIMessageChunk>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk as UIMessageChunk) // checked by `problemOf`
      controller.close()
    },
  })
  let message: UIMessage | undefined
  const states = sdk.readUIMessageStream({
    stream,
    onError: (error) => errors.push((error as Error).message),
  })
  for await (const state of states) message = state
  return { message, errors }
}

/** The words of a message, of one kind. */
export function wordsIn({ parts }: Pick<UIMessage, 'parts'>, kind: 'text' | 'reasoning' = 'text'): string {
  return parts.map((part) => (part.type === kind ? part.text : '')).join('')
}
