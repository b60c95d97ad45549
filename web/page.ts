import { createAnswer, type AnswerView } from './answer.ts'
import { readConfig } from './config.ts'
import { toMessages, type Turn } from './conversation.ts'
import { find, make } from './dom.ts'
import { followEnd } from './scroll.ts'
import { ask } from './stream.ts'

const welcome = find('welcome', HTMLElement)
const log = find('log', HTMLElement)
const composer = find('composer', HTMLFormElement)
const draft = find('draft', HTMLTextAreaElement)
const sendButton = find('send', HTMLButtonElement)
const stopButton = find('stop', HTMLButtonElement)
const models = find('models', HTMLSelectElement)

const toEnd = followEnd(find('scroller', HTMLElement), log, find('latest', HTMLButtonElement))
let turns: Turn[] = []
let latest: AnswerView | undefined
/** The answer that is being written; aborting it stops that answer. */
let running: AbortController | undefined

showConfig()
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
  const turn: Turn = { question }
  turns.push(turn)
  const bubble = make('div', 'question', question)
  bubble.dir = 'auto'
  log.append(bubble)
  void answer(turn) // ends by itself, and shows every failure
}

/** Asks for the answer to the last turn and shows it. */
async function answer(turn: Turn): Promise<void> {
  const view = createAnswer({ onRetry: () => retry(turn, view) })
  const controller = new AbortController()
  const model = models.value ? { model: models.value } : {}
  latest?.settle()
  latest = view
  welcome.hidden = true
  log.append(view.element)
  setRunning(controller)
  toEnd()
  try {
    for await (const delta of ask({ messages: toMessages(turns), ...model }, { stop: controller.signal })) {
      view.push(delta)
      if (delta.type === 'finish') turn.answer = view.said()
      if (delta.type === 'error') turn.rejected = !delta.retryable
    }
  } finally {
    if (running === controller) setRunning(undefined)
  }
}

function retry(turn: Turn, failed: AnswerView): void {
  if (running) return
  // What had arrived stays readable, and stays marked as incomplete.
  if (!failed.said()) failed.element.remove()
  draft.focus()
  void answer(turn) // as in `send`
}

function stop(): void {
  running?.abort()
}

function startOver(): void {
  stop()
  setRunning(undefined)
  turns = []
  latest = undefined
  log.replaceChildren()
  welcome.hidden = false
  draft.focus()
}

function setRunning(controller: AbortController | undefined): void {
  const wasOnStop = document.activeElement === stopButton
  running = controller
  sendButton.hidden = !!controller
  stopButton.hidden = !controller
  if (wasOnStop) draft.focus()
}

function fitDraft(): void {
  draft.style.height = 'auto'
  draft.style.height = `${draft.scrollHeight}px`
}

function showConfig(): void {
  const config = readConfig()
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
