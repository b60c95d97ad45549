import type { ChatDelta, FinishReason, Usage } from '../src/types.ts'
import { link, make } from './dom.ts'
import { createMarkdown } from './markdown.ts'

/** Why there is no answer, or only a part of one: told by the server, or noticed here. */
export interface Failure {
  readonly type: 'error'
  readonly code: string
  readonly message: string
  readonly retryable: boolean
}

/** What the page shows: the server's deltas, and failures from wherever they came. */
export type PageDelta = Exclude<ChatDelta, { readonly type: 'error' }> | Failure

/** One answer on the page, growing as its deltas come. */
export interface AnswerView {
  readonly element: HTMLElement
  /** What the model has said so far, as it would be told to a model again. */
  said(): string
  push(delta: PageDelta): void
  /** Says that the connection is lost, and that the answer will go on; or no longer. */
  setLost(lost: boolean): void
  /** Takes the "Try again" button away, because the conversation has moved on. */
  settle(): void
}

const NOTES: Readonly<Record<FinishReason, string>> = {
  stop: '',
  length: 'Cut short: the answer reached its length limit.',
  'content-filter': 'Cut short by a content filter.',
  'tool-calls': 'The model asked for a tool and waits for its result, which this page cannot give.',
  cancelled: 'Stopped.',
  other: 'The model ended the answer for a reason of its own.',
}

/** Shows an answer. `data-state` tells `running`, `complete`, `stopped` and `failed` apart. */
export function createAnswer({ onRetry }: { readonly onRetry: () => void }): AnswerView {
  const element = make('article', 'answer')
  const prose = make('div', 'prose')
  const markdown = createMarkdown(prose)
  const append = createSections(element)
  let said = ''
  let unshown = ''
  let frame = 0
  let begun = false
  let paragraph = ''
  const calls = new Map<string, number>()
  let model = ''
  let usage: Usage | undefined
  setState('running')
  element.setAttribute('aria-label', 'Answer')
  prose.dir = 'auto'
  element.append(make('p', 'waiting', make('span', 'quiet-label', 'Waiting for the answer')), prose)

  function setState(state: 'running' | 'complete' | 'stopped' | 'failed'): void {
    element.dataset.state = state
    // While it grows a screen reader would read every piece; afterwards it reads the whole once.
    element.setAttribute('aria-busy', String(state === 'running'))
  }

  function show(): void {
    cancelAnimationFrame(frame)
    frame = 0
    if (unshown) markdown.append(unshown)
    unshown = ''
  }

  return {
    element,
    said: () => said,
    settle: () => element.querySelector('.retry')?.remove(),
    setLost(lost) {
      element.querySelector('.lost')?.remove()
      if (lost) element.append(make('p', 'lost', 'The connection is lost. Reconnecting …'))
    },
    push(delta) {
      if (!begun && delta.type !== 'start') element.querySelector('.waiting')?.remove()
      switch (delta.type) {
        case 'start':
          model = delta.model
          break
        case 'text':
          said += paragraph + delta.text
          unshown += paragraph + delta.text
          paragraph = ''
          frame ||= requestAnimationFrame(show)
          break
        case 'refusal':
          said += delta.text
          append('refusal', delta.text)
          break
        case 'reasoning':
          append('reasoning', delta.text)
          break
        case 'tool-call':
          if (delta.id) calls.set(delta.id, delta.index)
          append('tool', (delta.name ? `${delta.name} ` : '') + delta.arguments, delta.index)
          break
        case 'tool-result':
          append('tool', `\n→ ${textOf(delta.result)}`, calls.get(delta.id))
          // What the model says now is another step, not the same sentence.
          if (said) paragraph = '\n\n'
          break
        case 'source':
          element.append(make('p', 'source', 'Source: ', link(delta.url, delta.title || delta.url)))
          break
        case 'usage':
          usage = delta
          break
        case 'finish':
          show()
          setState(delta.reason === 'cancelled' ? 'stopped' : 'complete')
          if (NOTES[delta.reason]) element.append(make('p', 'note', NOTES[delta.reason]))
          if (usage || model) element.append(make('p', 'meta', describe(model, usage)))
          break
        case 'error':
          show()
          setState('failed')
          element.append(createAlert(delta, { partial: begun, onRetry }))
          break
      }
      begun ||= delta.type !== 'start'
    },
  }
}

type Section = 'reasoning' | 'refusal' | 'tool'

/** Sections other than the text appear with their first piece, and grow by appending to one text node. */
function createSections(parent: HTMLElement): (section: Section, piece: string, index?: number) => void {
  const texts = new Map<string, Text>()
  return (section, piece, index = 0) => {
    const key = `${section} ${index}`
    const text = texts.get(key)
    if (text) return text.appendData(piece)
    const first = document.createTextNode(piece)
    texts.set(key, first)
    if (section === 'tool')
      parent.append(make('p', 'tool', make('span', '', 'Tool call'), make('code', '', first)))
    else if (section === 'refusal') parent.append(make('p', 'refusal', make('strong', '', 'Declined'), first))
    else
      parent.prepend(make('details', 'reasoning', make('summary', '', 'Reasoning'), make('div', '', first)))
  }
}

function createAlert(
  { code, message, retryable }: Failure,
  { partial, onRetry }: { readonly partial: boolean; readonly onRetry: () => void },
): HTMLElement {
  const title = partial ? 'This answer is incomplete' : 'No answer'
  const alert = make(
    'div',
    'alert',
    make('strong', '', title),
    make('p', '', message),
    make('code', '', code),
  )
  alert.setAttribute('role', 'alert')
  if (retryable) {
    const retry = make('button', 'retry', 'Try again')
    retry.type = 'button'
    retry.addEventListener('click', onRetry)
    alert.append(retry)
  }
  return alert
}

function textOf(result: unknown): string {
  return typeof result === 'string' ? result : JSON.stringify(result)
}

function describe(model: string, usage: Usage | undefined): string {
  const tokens = usage && `${usage.inputTokens} tokens in, ${usage.outputTokens} out`
  return [model, tokens].filter(Boolean).join(' · ')
}
