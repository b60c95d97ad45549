/** One message as the server reads it. */
export interface Message {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

/** A question and what came of it. */
export interface Turn {
  readonly question: string
  /** The answer, when it is complete or was stopped by the reader; never a broken one. */
  answer?: string
  /** The server refused this question and would again; it must not poison the rest of the chat. */
  rejected?: boolean
}

/** The conversation as the model should see it: every good question, every answer that can be trusted. */
export function toMessages(turns: readonly Turn[]): Message[] {
  return turns
    .filter((turn) => !turn.rejected)
    .flatMap(({ question, answer }): Message[] => [
      { role: 'user', content: question },
      ...(answer ? [{ role: 'assistant' as const, content: answer }] : []),
    ])
}
