import type { Fields, UpstreamDelta } from '../types.ts'
import { fields, word } from './json.ts'
import { malformed, MAX_CALLS } from './malformed.ts'

interface Call {
  readonly index: number
  readonly itemId: unknown
  readonly output: unknown
  id?: string
  /** Known before the call has left: without an item around it nobody says its id. */
  name?: string
  /** Whether it left, with its name. */
  named: boolean
  /** All arguments so far. */
  text: string
  /** Those that wait for the name. */
  held: string
  /** Whether the end of the answer spoke of it. */
  claimed: boolean
}

/** Whether an item is a call of a tool of the client's. A custom tool has its text in `input`. */
export function isCall(item: Fields | undefined): boolean {
  return item?.['type'] === 'function_call' || item?.['type'] === 'custom_tool_call'
}

/** Keeps the calls of one answer of the Responses API apart. */
export function createItemCalls() {
  const calls: Call[] = []
  let closing = false

  /** `event.item` is the beginning of a call. */
  function open(event: Fields, out: UpstreamDelta[]): void {
    const item = fields(event['item'])
    if (!item || !isCall(item)) return
    const call = find(event) ?? addCall(event)
    const text = word(item['arguments']) ?? word(item['input']) ?? ''
    if (call.named) return
    call.text += text
    introduce(call, item, text, out)
  }

  function argue(event: Fields, text: unknown, out: UpstreamDelta[]): void {
    if (typeof text === 'string' && text !== '') addTo(find(event) ?? addCall(event), text, out)
  }

  function addTo(call: Call, text: string, out: UpstreamDelta[]): void {
    call.text += text
    if (call.named) out.push({ type: 'tool-call', index: call.index, arguments: text })
    else call.held += text
  }

  /** `event.item` is the whole call, where the event has it; else it may have the name. */
  function complete(event: Fields, text: unknown, out: UpstreamDelta[]): void {
    const call = find(event) ?? addCall(event)
    if (closing) call.claimed = true
    const item = fields(event['item'])
    const name = word(event['name'])
    if (name) call.name = name
    if (!call.named && (item || event['call_id'])) introduce(call, item ?? event, '', out)
    if (typeof text !== 'string' || !text.startsWith(call.text)) return
    if (text.length > call.text.length) addTo(call, text.slice(call.text.length), out)
  }

  /** The first piece of a call: its id, its name and what came before them. */
  function introduce(call: Call, item: Fields, text: string, out: UpstreamDelta[]): void {
    const id = word(item['call_id']) ?? word(item['id'])
    const name = word(item['name']) ?? call.name
    if (!name) return void (call.held += text)
    // Two calls must not share an id: somebody after us makes one up.
    const borrowed = calls.some((other) => id !== undefined && other.id === id)
    call.named = true
    if (id) call.id = id
    const identity = { name, ...(id && !borrowed ? { id } : {}) }
    out.push({ type: 'tool-call', index: call.index, ...identity, arguments: call.held + text })
    call.held = ''
  }

  // By what identifies a call best: some servers give an item another id in every event, others repeat an index.
  function find(event: Fields): Call | undefined {
    const item = fields(event['item'])
    const id = word(item?.['call_id']) ?? word(event['call_id'])
    const itemId = event['item_id'] ?? item?.['id']
    const output = event['output_index']
    const suitable = calls.filter((call) => !call.claimed && !(id && call.id && call.id !== id))
    const isItem = (call: Call): boolean => itemId !== undefined && call.itemId === itemId
    const isThere = (call: Call): boolean =>
      call.output === output && (output !== undefined || call.itemId === undefined || itemId === undefined)
    const twins = suitable.filter((call) => id && call.id === id)
    return (
      twins.findLast((call) => isItem(call) || isThere(call)) ??
      // At the end each call is named once, wherever it stands.
      (closing ? twins[0] : undefined) ??
      suitable.findLast(isItem) ??
      suitable.findLast(isThere)
    )
  }

  function addCall(event: Fields): Call {
    if (calls.length >= MAX_CALLS) throw malformed(`more than ${MAX_CALLS} tool calls in one answer`)
    const call: Call = {
      index: calls.length,
      itemId: event['item_id'] ?? fields(event['item'])?.['id'],
      output: event['output_index'],
      named: false,
      text: '',
      held: '',
      claimed: false,
    }
    calls.push(call)
    return call
  }

  /** Says what never got an id, or not even a name. */
  function flush(out: UpstreamDelta[]): void {
    for (const call of calls) {
      if (call.named || (call.held === '' && !call.name)) continue
      const { index, name, held } = call
      out.push({ type: 'tool-call', index, ...(name ? { name } : {}), arguments: held })
      call.named = true
      call.held = ''
    }
  }

  return {
    open,
    argue,
    complete,
    flush,
    /** From here on the whole answer is read again, each call once. */
    close(): void {
      closing = true
    },
    get count() {
      return calls.length
    },
  }
}
