import type { Fields, FinishReason, Usage } from '../types.ts'

/** Which call, and for one that this service runs: that the page need neither know nor run it. */
export interface UiCall {
  readonly toolCallId: string
  readonly dynamic?: true
  readonly providerExecuted?: true
}

/**
 * The chunks of the AI SDK's UI message stream that versions 5, 6 and 7 of `ai` understand alike: their
 * `uiMessageChunkSchema`, in ui-message-chunks.ts. A type they do not know ends the chat with an error.
 */
export type UiChunk =
  | { readonly type: 'start'; readonly messageId: string; readonly messageMetadata: UiMetadata }
  | { readonly type: 'start-step' | 'finish-step' | 'abort' }
  | {
      readonly type: 'text-start' | 'text-end' | 'reasoning-start' | 'reasoning-end'
      readonly id: string
      readonly providerMetadata?: { readonly deltarelay: { readonly refusal: true } }
    }
  | { readonly type: 'text-delta' | 'reasoning-delta'; readonly id: string; readonly delta: string }
  | (UiCall & { readonly type: 'tool-input-start'; readonly toolName: string })
  | { readonly type: 'tool-input-delta'; readonly toolCallId: string; readonly inputTextDelta: string }
  | (UiCall & {
      readonly type: 'tool-input-available'
      readonly toolName: string
      readonly input: unknown
      readonly providerMetadata?: UiCallMetadata
    })
  | (UiCall & {
      readonly type: 'tool-input-error'
      readonly providerMetadata?: UiCallMetadata
      readonly toolName: string
      readonly input: string
      readonly errorText: string
    })
  | (UiCall & { readonly type: 'tool-output-available'; readonly output: unknown })
  | (UiCall & { readonly type: 'tool-output-error'; readonly errorText: string })
  | { readonly type: 'source-url'; readonly sourceId: string; readonly url: string; readonly title?: string }
  | { readonly type: 'message-metadata'; readonly messageMetadata: UiMetadata }
  | { readonly type: 'error'; readonly errorText: string }
  | {
      readonly type: 'finish'
      readonly finishReason: Exclude<FinishReason, 'cancelled'>
      readonly messageMetadata?: UiMetadata
    }

/** What a page sends back with the result of a call: its signature, and what its vendor wants back. */
export interface UiCallMetadata {
  readonly deltarelay: Fields
}

/** What a message of a page knows beside its parts, as `message.metadata`. Milliseconds since 1970. */
export interface UiMetadata {
  readonly model?: string
  readonly createdAt?: number
  readonly usage?: Usage
}
