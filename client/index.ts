import { createChat } from './chat.ts'
import { thisHost } from './host.ts'

/**
 * Asks a deltarelay service and gives the answer as deltas; it reconnects by itself, misses nothing and repeats nothing.
 * `chat.resume(id)` goes on with a reply that was asked before: after a reload, in another tab, in another process.
 *
 * @example
 * for await (const delta of chat({ url: 'https://relay.example/chat', messages })) {
 *   if (delta.type === 'text') show(delta.text)
 * }
 */
export const chat = createChat(thisHost)

export { ChatClientError, type ChatClientErrorCode } from './errors.ts'
export type {
  AskOptions,
  Chat,
  ChatClient,
  ChatState,
  FollowOptions,
  Message,
  ResumeOptions,
} from './types.ts'
export type { ChatDelta, FinishReason, Usage } from '../src/types.ts'
