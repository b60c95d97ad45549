export { type Account, type AccountOptions, type Budget, type BudgetOptions, createBudget } from './budget.ts'
export { streamChat, type StreamChatOptions } from './chat.ts'
export { type CorsOptions, withCors } from './cors.ts'
export { ChatError, type ChatErrorOptions, type ErrorCode } from './errors.ts'
export type { PartialAnswer } from './collect.ts'
export type { EndedReply, FinishedReply, OnEnd, OnFinish, Timings } from './finished.ts'
export { type ChatHandler, createHandler, type DialectName, type HandlerOptions } from './handler.ts'
export { type HostsOptions, withAllowedHosts } from './hosts.ts'
export type { Page } from './page.ts'
export { createMemoryStore, type MemoryStoreOptions } from './stores/memory.ts'
export {
  type Answer,
  type AnsweredCall,
  type Ask,
  type Batches,
  type Binding,
  type ChatDelta,
  type ChatMessage,
  type ChatRequest,
  type Content,
  type ContentPart,
  type CreateOptions,
  type Deltas,
  type Fields,
  type FinishReason,
  type Handler,
  type HttpReply,
  type HttpRequest,
  isTerminal,
  type ReplyState,
  type StreamStore,
  type ToolCall,
  type ToolSpec,
  type Upstream,
  type UpstreamDelta,
  type UpstreamOptions,
  type Usage,
} from './types.ts'
export type { Report, ReportContext } from './report.ts'
export type { StandardSchema } from './schema.ts'
export {
  createToolbox,
  defineTool,
  type Tool,
  type Toolbox,
  type ToolContext,
  ToolError,
  type ToolResult,
} from './tools.ts'
export {
  createFailover,
  type FailoverEntry,
  type FailoverMove,
  type FailoverOptions,
} from './upstreams/failover.ts'
export { createOpenAI, type OpenAIOptions } from './upstreams/openai.ts'
