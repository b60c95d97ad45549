import type { Fields, UpstreamDelta } from '../types.ts'
import { fields, list, word } from './json.ts'

/** What a part of an item says. A summary of reasoning and reasoning itself are parts of the same item. */
type Channel = 'text' | 'refusal' | 'summary' | 'reasoning'

interface Call {
  readonly index: number
  readonly itemId: unknown
  readonly output: unknown
  id?: string
  named: boolean
  /** Whether arguments came. */
  begun: boolean
  /** Arguments that wait for the name. */
  held: string
}

/**
 * Keeps the output items of one answer of the Responses API apart. The API says everything up to three times: in
 * deltas, at the end of a part, at the end of its item. What is said first counts, what repeats it does not.
 */
export function createItemBook() {
  const begun = new Set<string>()
  const calls: Call[] = []
  const cited = new Set<string>()
  let reasoned = false
  // The part of the last piece. Most pieces belong to the part of the piece before.
  let channel: Channel | undefined
  let output: unknown
  let part: unknown

  function say(to: Channel, event: Fields, text: unknown, out: UpstreamDelta[]): void {
    if (typeof text !== 'string' || text === '') return
    const position = positionIn(event)
    const turn = to !== channel || position !== part || event['output_index'] !== output
    const type = to === 'summary' ? 'reasoning' : to
    const piece =
      turn && turnTo(to, event, position) && reasoned && type === 'reasoning' ? `\n\n${text}` : text
    if (turn && type === 'reasoning') reasoned = true
    const logprobs = event['logprobs']
    if (Array.isArray(logprobs) && logprobs.length > 0) out.push({ type, text: piece, logprobs })
    else out.push({ type, text: piece })
  }

  /** True when nothing of this part was said before. */
  function turnTo(to: Channel, event: Fields, position: unknown): boolean {
    channel = to
    output = event['output_index']
    part = position
    const before = begun.size
    begun.add(keyOf(to, event, position))
    return begun.size > before
  }

  function complete(to: Channel, event: Fields, text: unknown, out: UpstreamDelta[]): void {
    if (!begun.has(keyOf(to, event, positionIn(event)))) say(to, event, text, out)
  }

  function completePart(event: Fields, value: unknown, out: UpstreamDelta[]): void {
    const said = fields(value) ?? {}
    // The logprobs of a part that was said in pieces came with the pieces.
    const place = { ...event, logprobs: said['logprobs'] }
    if (said['type'] === 'output_text') complete('text', place, said['text'], out)
    if (said['type'] === 'refusal') complete('refusal', place, said['refusal'], out)
    if (said['type'] === 'reasoning_text') complete('reasoning', place, said['text'], out)
    for (const note of list(said['annotations'])) cite(note, out)
  }

  function completeItem(event: Fields, value: unknown, out: UpstreamDelta[]): void {
    const item = fields(value) ?? {}
    const { output_index } = event
    if (item['type'] === 'function_call') return completeCall({ ...event, item }, item['arguments'], out)
    if (item['type'] !== 'message' && item['type'] !== 'reasoning') return
    list(item['summary']).forEach((said, summary_index) => {
      complete('summary', { output_index, summary_index }, fields(said)?.['text'], out)
    })
    list(item['content']).forEach((said, content_index) => {
      completePart({ output_index, content_index }, said, out)
    })
  }

  function cite(value: unknown, out: UpstreamDelta[]): void {
    const note = fields(value)
    const url = note?.['url']
    const title = note?.['title']
    if (note?.['type'] !== 'url_citation' || typeof url !== 'string' || cited.has(url)) return
    cited.add(url)
    out.push(typeof title === 'string' ? { type: 'source', url, title } : { type: 'source', url })
  }

  function open(event: Fields, out: UpstreamDelta[]): void {
    const item = fields(event['item'])
    if (item?.['type'] !== 'function_call') return
    const id = word(item['call_id'])
    const call = calls.find((other) => id && other.id === id) ?? addCall(event)
    const text = word(item['arguments']) ?? ''
    if (text !== '') call.begun = true
    introduce(call, item, text, out)
  }

  function argue(event: Fields, text: unknown, out: UpstreamDelta[]): void {
    if (typeof text !== 'string' || text === '') return
    const call = find(event) ?? addCall(event)
    call.begun = true
    if (call.named) out.push({ type: 'tool-call', index: call.index, arguments: text })
    else call.held += text
  }

  /** `event.item` is the whole call, where the event has it. */
  function completeCall(event: Fields, text: unknown, out: UpstreamDelta[]): void {
    const call = find(event) ?? addCall(event)
    const item = fields(event['item'])
    if (!call.named && item) introduce(call, item, '', out)
    if (!call.begun) argue(event, text, out)
  }

  /** The first piece of a call: its id, its name and what came before them. */
  function introduce(call: Call, item: Fields, text: string, out: UpstreamDelta[]): void {
    const id = word(item['call_id']) ?? word(item['id'])
    const name = word(item['name'])
    if (call.named) return
    if (!name) return void (call.held += text)
    call.named = true
    if (id) call.id = id
    const identity = { name, ...(id ? { id } : {}) }
    out.push({ type: 'tool-call', index: call.index, ...identity, arguments: call.held + text })
    call.held = ''
  }

  // By what identifies a call best: some servers give an item another id in every event, others repeat an index.
  function find(event: Fields): Call | undefined {
    const item = fields(event['item'])
    const id = word(item?.['call_id'])
    const itemId = event['item_id'] ?? item?.['id']
    return (
      (id ? calls.findLast((call) => call.id === id) : undefined) ??
      (itemId === undefined ? undefined : calls.findLast((call) => call.itemId === itemId)) ??
      calls.findLast((call) => call.output === event['output_index'] && !(id && call.id))
    )
  }

  function addCall(event: Fields): Call {
    const call: Call = {
      index: calls.length,
      itemId: event['item_id'] ?? fields(event['item'])?.['id'],
      output: event['output_index'],
      named: false,
      begun: false,
      held: '',
    }
    calls.push(call)
    return call
  }

  /** Says what never got a name. */
  function flush(out: UpstreamDelta[]): void {
    for (const call of calls) {
      if (call.held !== '') out.push({ type: 'tool-call', index: call.index, arguments: call.held })
      call.held = ''
    }
  }

  return {
    say,
    complete,
    completePart,
    completeItem,
    cite,
    open,
    argue,
    completeCall,
    flush,
    /** Whether anything was said. */
    get begun() {
      return begun.size > 0 || calls.length > 0
    },
    get calls() {
      return calls.length
    },
  }
}

function positionIn(event: Fields): unknown {
  return event['summary_index'] ?? event['content_index'] ?? 0
}

function keyOf(channel: Channel, event: Fields, position: unknown): string {
  return `${channel} ${String(event['output_index'] ?? 0)} ${String(position)}`
}
