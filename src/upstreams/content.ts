import { isObject } from '../checks.ts'
import type { Fields, UpstreamDelta } from '../types.ts'
import { fields, word } from './json.ts'

/** Adds the reasoning, the text and the refusal of a `delta`, or of a whole `message`, to `out`. */
export function readTexts(delta: Fields, out: UpstreamDelta[]): void {
  const reasoning = reasoningIn(delta)
  if (reasoning !== '') out.push({ type: 'reasoning', text: reasoning })
  const content = delta['content']
  if (typeof content === 'string') push('text', content, out)
  else if (typeof content === 'number') push('text', String(content), out)
  else if (Array.isArray(content)) for (const part of content) readPart(part, reasoning, out)
  else if (content) readPart(content, reasoning, out)
  if (delta['refusal']) push('refusal', plainText(delta['refusal']), out)
}

/** Several fields hold the same reasoning, or one holds it and the others are empty: the first with a text counts. */
function reasoningIn(delta: Fields): string {
  return (
    plainText(delta['reasoning_content']) ||
    plainText(delta['reasoning']) ||
    plainText(delta['reasoning_details']) ||
    plainText(delta['thinking'])
  )
}

/** Parts without text for us: what they hold is no word of the answer. */
const mute = /image|audio|video|file|tool/

// Mistral gives content as an array of parts: text, and thinking with parts of its own.
function readPart(part: unknown, reasoning: string, out: UpstreamDelta[]): void {
  const type = fields(part)?.['type']
  const kind = typeof type === 'string' ? type : ''
  const thinking = fields(part)?.['thinking']
  if (thinking || /^(?:thinking|reasoning)/.test(kind)) {
    const text = plainText(thinking) || plainText(part)
    // Beside a field with the same words it is said already.
    if (text !== reasoning) push('reasoning', text, out)
  } else if (kind === 'refusal') push('refusal', plainText(fields(part)?.['refusal']) || plainText(part), out)
  else if (!mute.test(kind)) push('text', plainText(part), out)
}

function push(type: 'text' | 'reasoning' | 'refusal', text: string, out: UpstreamDelta[]): void {
  if (text !== '') out.push({ type, text })
}

/** The text in a string, a part (`{text}`, `{summary}`, `{content}`), or an array of those. */
function plainText(value: unknown, depth = 4): string {
  if (typeof value === 'string') return value
  if (!value || depth === 0) return ''
  if (Array.isArray(value)) return value.map((item) => plainText(item, depth - 1)).join('')
  if (!isObject(value) || word(value['type'])?.endsWith('encrypted')) return ''
  return (
    plainText(value['text'], depth - 1) ||
    plainText(value['summary'], depth - 1) ||
    plainText(value['content'], depth - 1) ||
    plainText(value['thinking'], depth - 1)
  )
}
