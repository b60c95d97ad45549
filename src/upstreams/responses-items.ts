import type { Fields, UpstreamDelta } from '../types.ts'
import { fields, list } from './json.ts'
import { malformed, requireShallow } from './malformed.ts'
import { createItemCalls, isCall } from './responses-calls.ts'
import { createSaid, type Said } from './said.ts'

/** How many parts an answer may have: at its end each is looked for among all of them. */
const MAX_PARTS = 5000

/** What a part of an item says. A summary of reasoning and reasoning itself are parts of the same item. */
type Channel = 'text' | 'refusal' | 'summary' | 'reasoning'

interface Part {
  readonly channel: Channel
  /** The index of its item, where the server gives one. */
  readonly output: unknown
  /** All of it so far. */
  readonly said: Said
}

/**
 * Keeps the output items of one answer of the Responses API apart. The API says everything up to four times: in
 * deltas, at the end of a part, of its item and of the answer. What is said first counts; a repetition adds only
 * what it goes on with.
 */
export function createItemBook() {
  const parts: Part[] = []
  /** Each part under the index of its item, and under its id: servers leave out the one, or change the other. */
  const byPlace = new Map<string, Part>()
  const calls = createItemCalls()
  const cited = new Set<string>()
  /** Parts that the end of the answer spoke of; undefined before that. */
  let claimed: Set<Part> | undefined
  // The part of the last piece. Most pieces belong to the part of the piece before.
  let current: Part | undefined
  let item: unknown
  let position: unknown

  function say(to: Channel, event: Fields, text: unknown, out: UpstreamDelta[]): void {
    if (typeof text !== 'string' || text === '') return
    if (!current || to !== current.channel || positionIn(event) !== position || itemIn(event) !== item) {
      current = find(to, event) ?? addPart(to, event)
      item = itemIn(event)
      position = positionIn(event)
    }
    add(current, text, event['logprobs'], out)
  }

  function add(part: Part, text: string, logprobs: unknown, out: UpstreamDelta[]): void {
    const type = part.channel === 'summary' ? 'reasoning' : part.channel
    const isNext = part.said.length === 0 && type === 'reasoning' && parts.some(isSaidThought)
    const piece = isNext ? `\n\n${text}` : text
    part.said.add(text)
    if (Array.isArray(logprobs) && logprobs.length > 0) {
      requireShallow(logprobs)
      out.push({ type, text: piece, logprobs })
    } else out.push({ type, text: piece })
  }

  function addPart(channel: Channel, event: Fields): Part {
    if (parts.length >= MAX_PARTS) throw malformed(`more than ${MAX_PARTS} parts in one answer`)
    const part: Part = { channel, output: event['output_index'], said: createSaid() }
    parts.push(part)
    for (const place of [indexIn(event), event['item_id']]) {
      const key = keyOf(channel, place, event)
      if (place !== undefined && !byPlace.has(key)) byPlace.set(key, part)
    }
    return part
  }

  function find(to: Channel, event: Fields): Part | undefined {
    const byIndex = byPlace.get(keyOf(to, indexIn(event), event))
    if (byIndex) return byIndex
    const byId = byPlace.get(keyOf(to, event['item_id'], event))
    // An id that a server gives to every item tells nothing.
    return byId && (indexIn(event) === undefined || byId.output === undefined) ? byId : undefined
  }

  /** At the end items can have another place than before: the same text is the same part. */
  function findWhole(to: Channel, event: Fields, text: string, taken: Set<Part>): Part | undefined {
    const places = [event['item_id'], indexIn(event)]
    const placed = places.flatMap((place) => byPlace.get(keyOf(to, place, event)) ?? [])
    const free = [...placed, ...parts].filter((part) => part.channel === to && !taken.has(part))
    const part = free.find(({ said }) => said.begins(text)) ?? free.find((each) => placed.includes(each))
    if (part) taken.add(part)
    return part
  }

  /** `text` is a whole part: what is left of it is said, where it begins with what was said. */
  function complete(to: Channel, event: Fields, text: unknown, out: UpstreamDelta[]): void {
    if (typeof text !== 'string') return
    const part = claimed ? findWhole(to, event, text, claimed) : find(to, event)
    if (part) {
      // No logprobs: they would be those of the whole.
      if (text.length > part.said.length && part.said.begins(text))
        add(part, text.slice(part.said.length), undefined, out)
      return
    }
    say(to, event, text, out)
    if (current && text !== '') claimed?.add(current)
  }

  function completePart(event: Fields, value: unknown, out: UpstreamDelta[]): void {
    const said = fields(value) ?? {}
    const place = { ...event, logprobs: said['logprobs'] }
    if (said['type'] === 'output_text') complete('text', place, said['text'], out)
    if (said['type'] === 'refusal') complete('refusal', place, said['refusal'], out)
    if (said['type'] === 'reasoning_text') complete('reasoning', place, said['text'], out)
    for (const note of list(said['annotations'])) cite(note, out)
  }

  function completeItem(event: Fields, value: unknown, out: UpstreamDelta[]): void {
    const item = fields(value) ?? {}
    if (isCall(item)) return calls.complete({ ...event, item }, item['arguments'] ?? item['input'], out)
    if (item['type'] !== 'message' && item['type'] !== 'reasoning') return
    const place = { output_index: event['output_index'], item_id: item['id'] }
    list(item['summary']).forEach((said, summary_index) => {
      complete('summary', { ...place, summary_index }, fields(said)?.['text'], out)
    })
    list(item['content']).forEach((said, content_index) => {
      completePart({ ...place, content_index }, said, out)
    })
  }

  /** The items of the whole answer: a server can leave out all that comes before. */
  function completeAll(items: unknown, out: UpstreamDelta[]): void {
    claimed = new Set()
    calls.close()
    list(items).forEach((item, output_index) => completeItem({ output_index }, item, out))
  }

  function cite(value: unknown, out: UpstreamDelta[]): void {
    const note = fields(value)
    const url = note?.['url']
    const title = note?.['title']
    if (note?.['type'] !== 'url_citation' || typeof url !== 'string' || cited.has(url)) return
    cited.add(url)
    out.push(typeof title === 'string' ? { type: 'source', url, title } : { type: 'source', url })
  }

  return { say, complete, completePart, completeItem, completeAll, cite, calls }
}

function isSaidThought({ channel, said }: Part): boolean {
  return said.length > 0 && (channel === 'summary' || channel === 'reasoning')
}

function itemIn(event: Fields): unknown {
  return event['output_index'] ?? event['item_id']
}

/** Undefined where only an id tells which item it is. */
function indexIn(event: Fields): unknown {
  return event['output_index'] ?? (event['item_id'] === undefined ? 0 : undefined)
}

function positionIn(event: Fields): unknown {
  return event['summary_index'] ?? event['content_index'] ?? 0
}

function keyOf(channel: Channel, place: unknown, event: Fields): string {
  return `${channel} ${String(place)} ${String(positionIn(event))}`
}
