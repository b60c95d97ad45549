import { newId, type Conversation, type Turn } from './conversation.ts'

const PREFIX = 'deltarelay:'
/** Not a conversation: these are forgotten one day. */
const SECRET = 'deltarelay-client-secret'
/** Older conversations are forgotten. */
const MAX_CONVERSATIONS = 50

interface Stored {
  readonly savedAt: number
  readonly turns: Turn[]
}

/** Reads a conversation; undefined when there is none, or nothing can be kept here. */
export function recall(id: string): Conversation | undefined {
  const turns = read(PREFIX + id)?.turns
  return turns && { id, turns }
}

/** Keeps a conversation. False when that is not possible: in a private window, or where there is no room at all. */
export function keep({ id, turns }: Conversation): boolean {
  const key = PREFIX + id
  try {
    if (localStorage.getItem(key) === null) forget(MAX_CONVERSATIONS - 1)
    const text = JSON.stringify({ savedAt: Date.now(), turns } satisfies Stored)
    try {
      localStorage.setItem(key, text)
    } catch {
      // No room: this one matters more than all the others.
      forget(0, key)
      localStorage.setItem(key, text)
    }
    return true
  } catch {
    // The conversation goes on; only a reload would lose it.
    return false
  }
}

/** The secret of this browser, for all of its tabs: made when there is none. Undefined when nothing can be kept here. */
export function secretOf(): string | undefined {
  try {
    if (!localStorage.getItem(SECRET)) localStorage.setItem(SECRET, newId())
    return localStorage.getItem(SECRET) || undefined
  } catch {
    return undefined
  }
}

/** Which conversation such an event of another tab is about. */
export function idOf({ key }: StorageEvent): string | undefined {
  return key?.startsWith(PREFIX) ? key.slice(PREFIX.length) : undefined
}

/** Forgets the oldest conversations but so many. */
function forget(count: number, except?: string): void {
  const savedAt = (key: string): number => read(key)?.savedAt ?? 0
  const keys = Object.keys(localStorage)
    .filter((key) => key.startsWith(PREFIX) && key !== except)
    .sort((a, b) => savedAt(b) - savedAt(a))
  for (const key of keys.slice(count)) localStorage.removeItem(key)
}

function read(key: string): Stored | undefined {
  try {
    // Written by this page, if maybe an older one.
    const stored = JSON.parse(localStorage.getItem(key) ?? 'null') as Stored | null
    return Array.isArray(stored?.turns) ? stored : undefined
  } catch {
    return undefined
  }
}
