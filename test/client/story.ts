import { setTimeout as pause } from 'node:timers/promises'
import { finish, openStream, role, say, type Script, send } from '../hosts/upstream.ts'

/** Words that show when one is missing, doubled or broken in the middle of a character. */
export function storyOf(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `w${n}${['', 'ö', '你', '👋'][n % 4]} `)
}

/** Tells them at this pace. */
export function tell(words: readonly string[], everyMs: number): Script {
  return async (response) => {
    openStream(response)
    await send(response, role)
    for (const word of words) {
      await send(response, say(word))
      await pause(everyMs)
    }
    await send(response, finish('stop'))
    response.end()
  }
}
