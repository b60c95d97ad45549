import { canonicalInput } from '../call-input.ts'
import { isObject, wrong } from '../checks.ts'
import { vendorFields } from '../signing.ts'
import type { ClaimedCall, Fields, ToolCall } from '../types.ts'
import { invalidInput } from './ai-sdk-calls.ts'

/** A call of a tool that runs in the page, and what the model is told that it gave. */
export interface CalledTool {
  readonly call: ToolCall
  readonly result: string
  /** The same call as a claim that this service issued it. */
  readonly claim: ClaimedCall
}

/**
 * Reads a tool's part of a message, which is at the path `at`. Undefined for what is none, has no result yet, or is no
 * tool of the page: calls without a result are refused by a model's server, and the results of our own tools are not a
 * page's to say. An approval is no result.
 *
 * @throws `ChatError` for a result whose call has no id.
 */
export function readCalledTool(
  part: Readonly<Record<string, unknown>>,
  at: string,
  clientTools: ReadonlySet<string> | undefined,
): CalledTool | undefined {
  const name = nameOf(part)
  const { toolCallId: id, providerExecuted } = part
  if (name === undefined || !clientTools?.has(name) || providerExecuted === true) return undefined
  const result = resultOf(part)
  if (result === undefined) return undefined
  const path = `${at}.toolCallId`
  if (typeof id !== 'string' || id === '') throw wrong(path, 'a non-empty string', id)
  const { signature, extra } = metadataOf(part)
  if (signature === undefined && isOwnRefusal(part)) return undefined
  const input = canonicalInput(part['input'])
  // What the model wrote and was not JSON is a text here, or in `rawInput`. Servers that read the arguments of earlier
  // calls refuse them; the result says what was wrong.
  const call = { id, name, arguments: input || '{}', ...(extra ? { extra } : {}) }
  return { call, result, claim: { id, name, input, extra, signature, at: path } }
}

// Version 5 keeps no metadata of a call whose input was not valid, so that the call cannot be verified. The page has
// added nothing to it: it is left out, as a call without a result is.
function isOwnRefusal({ state, input, errorText }: Readonly<Record<string, unknown>>): boolean {
  return state === 'output-error' && input === undefined && errorText === invalidInput
}

function nameOf({ type, toolName }: Readonly<Record<string, unknown>>): string | undefined {
  if (type === 'dynamic-tool') return typeof toolName === 'string' ? toolName : undefined
  return typeof type === 'string' && type.startsWith('tool-') ? type.slice('tool-'.length) : undefined
}

function resultOf(part: Readonly<Record<string, unknown>>): string | undefined {
  const { state, output, errorText, preliminary } = part
  if (state === 'output-error') return typeof errorText === 'string' ? errorText : 'The tool failed.'
  if (state !== 'output-available' || preliminary === true) return undefined
  return typeof output === 'string' ? output : JSON.stringify(output ?? null)
}

// Of a call whose input was not valid, newer clients keep its metadata as the result's.
function metadataOf({ callProviderMetadata, resultProviderMetadata }: Fields): {
  readonly signature: string | undefined
  readonly extra: Fields | undefined
} {
  const metadata = callProviderMetadata ?? resultProviderMetadata
  const ours = isObject(metadata) ? metadata['deltarelay'] : undefined
  const signature = isObject(ours) ? ours['signature'] : undefined
  return {
    signature: typeof signature === 'string' ? signature : undefined,
    extra: vendorFields(ours),
  }
}
