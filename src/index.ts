export { streamChat, type StreamChatOptions } from './chat.ts'
export type { Answer, ToolCall } from './collect.ts'
export { type CorsOptions, withCors } from './cors.ts'
export { ChatError, type ChatErrorOptions, type ErrorCode } from './errors.ts'
export { createHandler, type HandlerOptions } from './handler.ts'
export type { Page } from './page.ts'
export { createMemoryStore, type MemoryStoreOptions } from './stores/memory.ts'
export {
  type ChatDelta,
  type ChatMessage,
  type ChatRequest,
  type FinishReason,
  type Handler,
  type HttpReply,
  type HttpRequest,
  isTerminal,
  type ReplyState,
  type StreamStore,
  type Upstream,
  type UpstreamDelta,
  type UpstreamOptions,
  type Usage,
} from './types.ts'
export { createOpenAI, type OpenAIOptions } from './upstreams/openai.ts'
