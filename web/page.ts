import { chat, ChatClientError, type Chat, type ChatState, type FollowOptions } from '../client/index.ts'
import { createAnswer, type AnswerView, type PageDelta } from './answer.ts'
import { readConfig } from './config.ts'
import { compact, newId, toMessages, type Conversation, type Turn } from './conversation.ts'
import { find, make } from './dom.ts'
import { judge } from './failure.ts'
import { idOf, keep, recall, secretOf } from './memory.ts'
import { followEnd } from './scroll.ts'

/** How long a stopped reply may take to say its last word; and how long one that has not begun may take to begin. */
const PATIENCE_MS = 2_000
const PATIENCE_TO_BEGIN_MS = 6_000
/** A shorter interruption is nobody's concern. */
const SHORT_MS = 1_000

/** An answer that is being written. */
interface Running {
  readonly reply: Chat
  /** Whether the reader has had enough. */
  stopped: boolean
  /** Closes the connection. */
  leave(): void
}

const welcome = find('welcome', HTMLElement)
const log = find('log', HTMLElement)
const composer = find('composer', HTMLFormElement)
const draft = find('draft', HTMLTextAreaElement)
const sendButton = find('send', HTMLButtonElement)
const stopButton = find('stop', HTMLButtonElement)
const models = find('models', HTMLSelectElement)

const config = readConfig()
const toEnd = followEnd(find('scroller', HTMLElement), log, find('latest', HTMLButtonElement))
let conversation: Conversation = { id: newId(), turns: [] }
let latest: AnswerView | undefined
let running: Running | undefined

showConfig()
openAddressed()
addEventListener('hashchange', () => {
  if (addressed() !== conversation.id) openAddressed()
})
addEventListener('storage', (event) => {
  if (idOf(event) === conversation.id && !running) catchUp()
})
composer.addEventListener('submit', (event) => {
  event.preventDefault()
  send(draft.value)
})
draft.addEventListener('input', fitDraft)
draft.addEventListener('keydown', (event) => {
  // While an input method composes a character, Enter belongs to it.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  send(draft.value)
})
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !event.isComposing) stop()
})
stopButton.addEventListener('click', stop)
find('fresh', HTMLButtonElement).addEventListener('click', startOver)
for (const example of welcome.querySelectorAll('button')) {
  example.addEventListener('click', () => send(example.textContent ?? ''))
}

function send(text: string): void {
  const question = text.trim()
  draft.focus()
  if (!question || running) return
  draft.value = ''
  fitDraft()
  const turn: Turn = { question, key: newId(), ...(models.value ? { model: models.value } : {}) }
  conversation.turns.push(turn)
  showQuestion(turn)
  // The address names what can be found again, and nothing else.
  if (save(conversation)) location.hash = `c=${conversation.id}`
  void answer(turn) // ends by itself, and shows every failure
}

/** Gets the answer to the last turn and shows it: asks for it, or goes on with the one that was asked for before. */
async function answer(turn: Turn): Promise<void> {
  const own = conversation
  const view = showAnswer(turn)
  const deltas: PageDelta[] = []
  const controller = new AbortController()
  const reply = follow(own, turn, { signal: controller.signal, onState: watchConnection(view) })
  const self: Running = { reply, stopped: false, leave: () => controller.abort() }
  setRunning(self)
  toEnd()

  function push(delta: PageDelta): void {
    deltas.push(delta)
    view.push(delta)
  }

  let over = true
  try {
    for await (const delta of reply) push(delta)
  } catch (error) {
    // Left for another conversation: the answer goes on without a reader, and can be had later.
    if (controller.signal.aborted && !self.stopped) return
    if (self.stopped) push({ type: 'finish', reason: 'cancelled' })
    else if (error instanceof ChatClientError) {
      const verdict = judge(error, turn.reply !== undefined)
      over = verdict.over
      push(verdict.failure)
    } else throw error
  } finally {
    if (running === self) setRunning(undefined)
  }
  settle(turn, view, deltas)
  if (over) turn.deltas = compact(deltas)
  save(own)
}

/** Asks the turn's question, or goes on with its reply. */
function follow(own: Conversation, turn: Turn, options: Pick<FollowOptions, 'signal' | 'onState'>): Chat {
  const all = { ...options, url: 'chat', stopOnPageHide: config.stopOnPageHide }
  if (turn.reply !== undefined) return chat.resume(turn.reply, all)
  const onId = (id: string): void => {
    turn.reply = id
    save(own)
  }
  const asked = { messages: toMessages(own.turns), model: turn.model, key: turn.key }
  return chat({ ...all, ...asked, clientSecret: secretOf(), onId })
}

/** Tells of a connection that is lost for longer than a moment. */
function watchConnection(view: AnswerView): (state: ChatState) => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  return (state) => {
    if (state === 'resuming') {
      timer ??= setTimeout(() => view.setLost(true), SHORT_MS)
    } else if (state === 'live' || state === 'ended') {
      clearTimeout(timer)
      timer = undefined
      view.setLost(false)
    }
  }
}

/** Draws the conclusions from how a turn ended. */
function settle(turn: Turn, view: AnswerView, deltas: readonly PageDelta[]): void {
  const last = deltas.at(-1)
  if (last?.type === 'finish') turn.answer = view.said()
  if (last?.type === 'error') turn.rejected = !last.retryable
}

function retry(turn: Turn, failed: AnswerView): void {
  if (running) return
  const over = turn.deltas !== undefined
  // What had arrived stays readable, and stays marked as incomplete; unless it comes again.
  if (!over || !failed.said()) failed.element.remove()
  draft.focus()
  if (over) {
    turn.key = newId()
    delete turn.reply
    delete turn.deltas
    save(conversation)
  }
  void answer(turn) // as in `send`
}

function stop(): void {
  const stopping = running
  if (!stopping || stopping.stopped) return
  stopping.stopped = true
  setTimeout(stopping.leave, stopping.reply.id === undefined ? PATIENCE_TO_BEGIN_MS : PATIENCE_MS)
  // Where it does not get through, closing the connection is what remains.
  stopping.reply.stop().catch(() => {})
}

function startOver(): void {
  stop()
  history.pushState(null, '', location.pathname + location.search)
  show({ id: newId(), turns: [] })
  draft.focus()
}

/** The conversation that the address names. */
function addressed(): string | undefined {
  return /^#c=(\w+)$/.exec(location.hash)?.[1]
}

/** Shows the conversation that the address names, if it can still be found; an answer that is being written goes on. */
function openAddressed(): void {
  running?.leave()
  const id = addressed()
  show((id === undefined ? undefined : recall(id)) ?? { id: newId(), turns: [] })
  const last = conversation.turns.at(-1)
  if (last && !last.deltas) void answer(last) // as in `send`
}

/** Shows what was said in another tab; a question there can be followed once its reply has an id. */
function catchUp(): void {
  const turns = recall(conversation.id)?.turns ?? []
  const last = turns.at(-1)
  const gist = (turns: readonly Turn[]): string => turns.map((turn) => turn.key + !!turn.deltas).join()
  if ((last?.reply ?? last?.deltas) && gist(turns) !== gist(conversation.turns)) openAddressed()
}

function show(next: Conversation): void {
  conversation = next
  latest = undefined
  setRunning(undefined)
  // What was said long ago is not news for a screen reader.
  log.setAttribute('aria-live', 'off')
  log.replaceChildren()
  welcome.hidden = next.turns.length > 0
  for (const turn of next.turns) {
    showQuestion(turn)
    if (!turn.deltas) continue
    const view = showAnswer(turn)
    for (const delta of turn.deltas) view.push(delta)
  }
  toEnd()
  requestAnimationFrame(() => log.setAttribute('aria-live', 'polite'))
}

function showQuestion({ question }: Turn): void {
  const bubble = make('div', 'question', question)
  bubble.dir = 'auto'
  log.append(bubble)
}

function showAnswer(turn: Turn): AnswerView {
  const view = createAnswer({ onRetry: () => retry(turn, view) })
  latest?.settle()
  latest = view
  welcome.hidden = true
  log.append(view.element)
  return view
}

/** Keeps a conversation, with what was said in it meanwhile in another tab. */
function save(own: Conversation): boolean {
  const known = own.turns.length
  own.turns.push(...(recall(own.id)?.turns.slice(known) ?? []))
  const kept = keep(own)
  if (own === conversation && own.turns.length > known) openAddressed()
  return kept
}

function setRunning(next: Running | undefined): void {
  const wasOnStop = document.activeElement === stopButton
  running = next
  sendButton.hidden = !!next
  stopButton.hidden = !next
  if (wasOnStop) draft.focus()
}

function fitDraft(): void {
  draft.style.height = 'auto'
  draft.style.height = `${draft.scrollHeight}px`
}

function showConfig(): void {
  const badge = find('badge', HTMLElement)
  badge.hidden = !config.simulated
  badge.title =
    'A built-in simulator answers. For a real model, set OPENAI_API_KEY or OPENAI_BASE_URL and restart the server.'
  const several = config.models.length > 1
  const names = several || !config.model ? config.models : [config.model]
  for (const name of names) models.add(new Option(name, name, false, name === config.model))
  find('chooser', HTMLElement).hidden = !several
  const model = find('model', HTMLElement)
  model.textContent = models.value
  model.hidden = several || !models.value
}
