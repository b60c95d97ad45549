import { isObject } from '../checks.ts'
import type { Fields, ToolCall } from '../types.ts'

/** A call of a tool that runs in the page, and what the model is told that it gave. */
export interface CalledTool {
  readonly call: ToolCall
  readonly result: string
}

/**
 * Reads a tool's part of a message. Undefined for what is none, has no result yet, or is no tool of the page: calls
 * without a result are refused by a model's server, and the results of our own tools are not a page's to say.
 */
export function readCalledTool(
  part: Readonly<Record<string, unknown>>,
  clientTools: ReadonlySet<string> | undefined,
): CalledTool | undefined {
  const name = nameOf(part)
  const { toolCallId: id, providerExecuted } = part
  if (name === undefined || !clientTools?.has(name) || providerExecuted === true) return undefined
  if (typeof id !== 'string' || id === '') return undefined
  const result = resultOf(part)
  if (result === undefined) return undefined
  return { call: { id, name, arguments: argumentsOf(part), ...extraOf(part) }, result }
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

// What a vendor wants back with its call, by the one name it may have. Of a call whose input was not valid, newer
// clients keep it as the result's.
function extraOf({ callProviderMetadata, resultProviderMetadata }: Fields): Pick<ToolCall, 'extra'> {
  const metadata = callProviderMetadata ?? resultProviderMetadata
  const ours = isObject(metadata) ? metadata['deltarelay'] : undefined
  const content = isObject(ours) ? ours['extra_content'] : undefined
  return isObject(content) ? { extra: { extra_content: content } } : {}
}

// What the model wrote and was not JSON is a text here, or in `rawInput`. Servers that read the arguments of earlier
// calls refuse them; the result says what was wrong.
function argumentsOf({ input }: Readonly<Record<string, unknown>>): string {
  return isObject(input) ? JSON.stringify(input) : '{}'
}
