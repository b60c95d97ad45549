/** Answers the calls of the process that started this one, each by the function of its name. */
export function serve(calls: Readonly<Record<string, (argument: never) => Promise<unknown>>>): void {
  process.on('message', ({ id, name, argument }: Call) => {
    const send = (answer: Omit<Answer, 'id'>): void => void process.send?.({ id, ...answer })
    calls[name]!(argument as never).then(
      (result) => send({ result }),
      (error: unknown) => send({ error: error instanceof Error ? error.message : String(error) }),
    )
  })
  process.on('disconnect', () => process.exit(0))
}

/** What goes to a process that `serve`s. */
export interface Call {
  readonly id: number
  readonly name: string
  readonly argument: unknown
}

/** What comes back. */
export interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}
