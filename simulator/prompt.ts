import type { ChatBody, Message } from './request.ts'

/** What a tool gave back. */
export interface ToolResult {
  readonly name: string
  readonly text: string
}

/** What the caller wants, read off the conversation. */
export interface Prompt {
  /** The last user message as it came. */
  readonly full: string
  /** The same without the simulator's own words (`fault:…`, `tokens:…`). */
  readonly text: string
  /** The words that carry the meaning, most telling first; at least one. */
  readonly words: readonly string[]
  readonly earlier: readonly string[]
  readonly images: number
  /** Results that arrived after the last thing the assistant said. */
  readonly results: readonly ToolResult[]
}

const directives = /(?:^|\s)(?:fault|tokens):\S+/g

const common = new Set(
  `about above after again also answer because been before being below between both briefly call called can
   case could create current data detail does doing each easy example explain find first following from
   fetch function general give given good hello help here high into just know language last like list long look
   make many maybe mean more most much must name need next number object only other over please reason return
   returns same short should show simple simulator some something step steps story string table take tell text than
   sentence thank thanks three four five ten ideas that their them then there these they thing think this those through tool using value very want
   well were what when where which while will with without word words work would write your
   a an and any are as at be but by did do for get got had has have her him his how i if in is it its let may me my
   new no not now of off on one or our out own say see set she so the to too try two up us use was way we who why
   yes you`.split(/\s+/),
)

/** Reads the conversation. */
export function readPrompt({ messages }: ChatBody): Prompt {
  const users = messages.filter((message) => message.role === 'user')
  const last = users.at(-1)
  const full = last?.text ?? ''
  const text = withoutDirectives(full)
  const words = tellingWords(text)
  return {
    full,
    text,
    words: words.length > 0 ? words : ['this'],
    earlier: users.slice(0, -1).map((message) => withoutDirectives(message.text)),
    images: last?.images ?? 0,
    results: trailingResults(messages),
  }
}

/** Finds the words of a text that say what it is about, without the everyday ones. */
export function tellingWords(text: string): string[] {
  const words = text.match(/\p{L}[\p{L}\p{M}\p{N}]{2,}/gu) ?? []
  const seen = new Map<string, string>()
  for (const word of words) {
    const key = word.toLowerCase()
    if (!common.has(key) && !seen.has(key)) seen.set(key, word)
  }
  return [...seen.values()].slice(0, 12)
}

/** Shortens a text to one line that can stand inside quotation marks. */
export function quote(text: string, length = 80): string {
  const points = [...text.replace(/\s+/g, ' ').replaceAll('`', "'").trim()]
  return points.length <= length
    ? points.join('')
    : `${points
        .slice(0, length - 1)
        .join('')
        .trimEnd()}…`
}

function withoutDirectives(text: string): string {
  return text.replace(directives, ' ').trim()
}

function trailingResults(messages: readonly Message[]): ToolResult[] {
  const spoke = messages.findLastIndex((message) => message.role !== 'tool')
  const names = messages[spoke]?.calls
  return messages
    .slice(spoke + 1)
    .map((message) => ({ name: names?.get(message.toolCallId ?? '') ?? 'a tool', text: message.text }))
}
