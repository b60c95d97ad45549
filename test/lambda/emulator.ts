import { startEnvironment } from './environment.ts'
import type { Exit, Invocation, Job } from './environment.ts'
import { startFunctionUrl } from './function-url.ts'
import { prepareRuntime } from './install.ts'
import type { Failure } from './runtime-api.ts'
import type { UrlCors } from './url-cors.ts'

export type { Exit, Invocation } from './environment.ts'
export type { Failure } from './runtime-api.ts'
export type { UrlCors } from './url-cors.ts'

export interface LambdaOptions {
  /** The directory that would be the function's zip. */
  readonly taskRoot: string
  /** Defaults to `index.handler`. */
  readonly handler?: string
  readonly env?: Readonly<Record<string, string>>
  /** The function's timeout, 30 s by default. */
  readonly timeoutMs?: number
  /** Whether a slow client slows the function down (default), or the service keeps what it does not take. */
  readonly propagateBackpressure?: boolean
  /** How many invocations may run at once, each in its own process; default one. More requests wait. */
  readonly environments?: number
  readonly cors?: UrlCors
}

/** A function, running in the real Lambda runtime on this machine. */
export interface Lambda {
  /** The function URL, without a slash at the end. */
  readonly url: string
  /** Resolves when every environment has loaded the function; rejects when one could not. */
  readonly ready: Promise<void>
  /** From spawning to the first call for work, of the slowest environment; `undefined` until `ready`. */
  readonly readyMs: number | undefined
  /** Resolves when a runtime process ends for the first time. */
  readonly exited: Promise<Exit>
  /** Every end of a runtime process so far. */
  readonly exits: readonly Exit[]
  /** Why the function could not be loaded, the last time it could not. */
  readonly initError: Failure | undefined
  /** How many invocations have begun. */
  readonly invocations: number
  /** Of the runtime processes that there are. */
  readonly pids: readonly number[]
  /** Everything the runtimes have printed, stdout and stderr. */
  logs(): string
  /** Resolves with the match as soon as the logs, from the beginning, match. */
  logged(pattern: RegExp): Promise<RegExpExecArray>
  /** The invocation that began last; its fields fill as it goes on. */
  lastInvocation(): Invocation | undefined
  /** Sends an event to a handler that returns its answer, and resolves with that. Rejects when the handler fails. */
  invoke(event: unknown): Promise<unknown>
  /** Resolves when nothing waits and no handler runs any more, for a client or for nobody. */
  idle(): Promise<void>
  /** Ends the runtimes and both servers, whatever they are doing. */
  stop(): Promise<void>
}

/**
 * Runs the function in `taskRoot` under aws-lambda-ric, behind an emulated function URL.
 *
 * Resolves when the URL listens, which is before the function is loaded: await `ready` for a warm one.
 * Throws when the runtime is not to be had; ask `prepareRuntime()` first to skip instead.
 */
export async function startLambda(options: LambdaOptions): Promise<Lambda> {
  const { taskRoot, handler = 'index.handler', env = {}, timeoutMs = 30_000 } = options
  const { propagateBackpressure = true, environments: count = 1, cors } = options
  const paths = await prepareRuntime()
  if ('missing' in paths) throw new Error(paths.missing)

  const queue: Job[] = []
  const exits: Exit[] = []
  let output = ''
  let invocations = 0
  let last: Invocation | undefined
  let initError: Failure | undefined
  let readyMs: number | undefined

  const changes = createSignal()
  const prints = createSignal()

  const environments = await Promise.all(
    Array.from({ length: count }, () =>
      startEnvironment({
        paths,
        taskRoot,
        handler,
        env,
        timeoutMs,
        onOutput(text) {
          output += text
          prints.notify()
        },
        onInvocation(invocation) {
          invocations += 1
          last = invocation
        },
        onInitError(failure) {
          initError = failure
        },
        onExit(exit) {
          exits.push(exit)
          changes.notify()
        },
        onFree: dispatch,
      }),
    ),
  )

  const ready = Promise.all(environments.map((environment) => environment.ready)).then((times) => {
    readyMs = Math.max(...times)
  })
  // Who only sends requests learns of a failure from their answers.
  ready.catch(() => {})

  function submit(job: Job): void {
    queue.push(job)
    dispatch()
  }

  function dispatch(): void {
    while (queue.length > 0) {
      const free =
        environments.find(({ state }) => state === 'warm') ??
        environments.find(({ state }) => state === 'cold')
      if (!free) break
      free.run(queue.shift()!)
    }
    changes.notify()
  }

  const functionUrl = await startFunctionUrl({ submit, propagateBackpressure, cors })

  return {
    url: functionUrl.url,
    ready,
    exits,
    get readyMs() {
      return readyMs
    },
    get initError() {
      return initError
    },
    get invocations() {
      return invocations
    },
    get pids() {
      return environments.flatMap(({ pid }) => pid ?? [])
    },
    exited: changes.when(() => exits[0]),
    logs: () => output,
    logged: (pattern) => prints.when(() => new RegExp(pattern).exec(output) ?? undefined),
    lastInvocation: () => last,
    invoke: (event) =>
      new Promise((resolve, reject) =>
        submit({ event: JSON.stringify(event), ...answerValue(resolve, reject) }),
      ),
    idle: () =>
      changes
        .when(() => queue.length === 0 && environments.every(({ state }) => state !== 'busy'))
        .then(() => {}),
    async stop() {
      await functionUrl.close()
      const failure = { errorType: 'Lab.Stopped', errorMessage: 'The function was stopped before its turn.' }
      for (const job of queue.splice(0)) job.fail(failure)
      await Promise.all(environments.map((environment) => environment.stop()))
    },
  }
}

function answerValue(resolve: (value: unknown) => void, reject: (error: Error) => void): Omit<Job, 'event'> {
  function fail({ errorType, errorMessage }: Failure): void {
    reject(new Error(`${errorType}: ${errorMessage}`))
  }
  return {
    stream(_contentType, body) {
      body.resume()
    },
    end() {
      fail({
        errorType: 'Lab.Streaming',
        errorMessage: 'The handler streams its answer: ask for it at `url`.',
      })
    },
    result: (json) => resolve(JSON.parse(json)),
    fail,
  }
}

/** Lets promises wait for a condition without asking again and again. */
function createSignal(): { notify(): void; when<T>(look: () => T | undefined | false): Promise<T> } {
  const waiting = new Set<() => boolean>()
  return {
    notify() {
      for (const attempt of waiting) if (attempt()) waiting.delete(attempt)
    },
    when: (look) =>
      new Promise((resolve) => {
        function attempt(): boolean {
          const found = look()
          if (found === undefined || found === false) return false
          resolve(found)
          return true
        }
        if (!attempt()) waiting.add(attempt)
      }),
  }
}
