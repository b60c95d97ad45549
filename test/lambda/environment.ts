import type { ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { performance } from 'node:perf_hooks'
import { traceId } from './payload.ts'
import { startRuntimeApi, trailerFailure } from './runtime-api.ts'
import type { Failure } from './runtime-api.ts'
import { spawnRuntime } from './runtime-process.ts'
import type { FunctionOptions } from './runtime-process.ts'

/** One event on its way through a function, and whoever wants to hear of its answer. */
export interface Job {
  readonly event: string
  /** The handler streams. Followed by `end` or `fail` once the body has been read. */
  stream(contentType: string, body: IncomingMessage): void
  end(): void
  /** The handler returned a value. */
  result(json: string): void
  /** It threw, ran out of time, or its process ended: instead of an answer, or in the middle of a stream. */
  fail(failure: Failure): void
}

/** How one invocation went. */
export interface Invocation {
  readonly id: string
  readonly startedAt: number
  responseMode?: 'streaming' | 'buffered'
  contentType?: string
  failure?: Failure
  /** From handing the event out until the runtime was free again, or gone. */
  durationMs?: number
}

/** How a runtime process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface EnvironmentOptions extends FunctionOptions {
  /** The function's timeout: it bounds one invocation, not the loading. */
  readonly timeoutMs: number
  readonly onOutput: (text: string) => void
  readonly onInvocation: (invocation: Invocation) => void
  readonly onInitError: (failure: Failure) => void
  readonly onExit: (exit: Exit) => void
  /** It can take a job again. */
  readonly onFree: () => void
}

/** An execution environment: one runtime process, replaced when it dies, and one invocation at a time. */
export interface Environment {
  /** `warm` waits for a job, `cold` needs a new process first, `busy` can take none. */
  readonly state: 'warm' | 'cold' | 'busy'
  /** Of its runtime process, while there is one. */
  readonly pid: number | undefined
  /** Resolves, with the milliseconds from spawning to the first call of `next`, or rejects when loading failed. */
  readonly ready: Promise<number>
  run(job: Job): void
  stop(): Promise<void>
}

// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib
const initTimeoutMs = 10_000
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB, in either direction.
export const payloadLimit = 6 * 1024 * 1024

/** Starts an environment; its first runtime process loads the function at once. */
export async function startEnvironment(options: EnvironmentOptions): Promise<Environment> {
  const { timeoutMs, onOutput, onInvocation, onInitError, onExit, onFree } = options

  let child: ChildProcess | undefined
  let childClosed: Promise<void> = Promise.resolve()
  let spawnedAt = 0
  let loaded = false
  let initFailure: Failure | undefined
  let give: ((headers: Record<string, string>, event: string) => void) | undefined
  let job: Job | undefined
  let invocation: Invocation | undefined
  let answered = false
  let body: IncomingMessage | undefined
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  let resolveReady!: (ms: number) => void
  let rejectReady!: (error: Error) => void
  const ready = new Promise<number>((resolve, reject) => {
    resolveReady = resolve
    rejectReady = reject
  })
  // Nobody has to look at `ready`: a request tells the same.
  ready.catch(() => {})

  const api = await startRuntimeApi({
    next(handOut) {
      give = handOut
      if (!loaded) {
        loaded = true
        clearTimeout(timer)
        resolveReady(performance.now() - spawnedAt)
        if (!job) onFree()
      }
      proceed()
    },
    stream(id, contentType, stream) {
      if (!expects(id)) return void stream.resume()
      body = stream
      invocation!.responseMode = 'streaming'
      invocation!.contentType = contentType
      stream.once('end', () => {
        if (!expects(id)) return
        const failure = trailerFailure(stream)
        if (failure) fail(failure)
        else answer(() => job!.end())
        proceed()
      })
      job!.stream(contentType, stream)
    },
    result(id, json) {
      if (!expects(id)) return
      invocation!.responseMode = 'buffered'
      const bytes = Buffer.byteLength(json)
      if (bytes > payloadLimit) {
        const errorMessage = `Response payload size (${bytes} bytes) exceeded maximum allowed payload size (${payloadLimit} bytes).`
        fail({ errorType: 'Function.ResponseSizeTooLarge', errorMessage })
      } else {
        answer(() => job!.result(json))
      }
      proceed()
    },
    error(id, failure) {
      if (expects(id)) fail(failure)
      proceed()
    },
    initError(failure) {
      initFailure = failure
    },
  })

  function expects(id: string): boolean {
    return job !== undefined && invocation?.id === id && !answered
  }

  function answer(tell: () => void): void {
    answered = true
    tell()
  }

  function fail(failure: Failure): void {
    if (invocation) invocation.failure = failure
    answer(() => job!.fail(failure))
  }

  /** Hands out a job, or closes one: a job is over when it is answered and the runtime asks for the next. */
  function proceed(): void {
    if (!give) return
    if (job && !invocation) handOut(job, give)
    else if (job && answered) {
      finish()
      onFree()
    }
  }

  function handOut({ event }: Job, giveTo: NonNullable<typeof give>): void {
    give = undefined
    invocation = { id: randomUUID(), startedAt: Date.now() }
    onInvocation(invocation)
    timer = setTimeout(onTimeout, timeoutMs)
    const headers = {
      'Lambda-Runtime-Aws-Request-Id': invocation.id,
      'Lambda-Runtime-Deadline-Ms': String(invocation.startedAt + timeoutMs),
      'Lambda-Runtime-Invoked-Function-Arn': 'arn:aws:lambda:us-east-1:123456789012:function:deltarelay',
      'Lambda-Runtime-Trace-Id': `${traceId()};Sampled=0`,
    }
    giveTo(headers, event)
  }

  function finish(): void {
    clearTimeout(timer)
    if (invocation) invocation.durationMs = Date.now() - invocation.startedAt
    job = invocation = body = undefined
    answered = false
  }

  function onTimeout(): void {
    const errorMessage = `${invocation!.id} Task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`
    onOutput(`${new Date().toISOString()} ${errorMessage}\n`)
    invocation!.failure = { errorType: 'Sandbox.Timedout', errorMessage }
    if (!answered) fail(invocation!.failure)
    child?.kill('SIGKILL')
  }

  function start(): void {
    loaded = false
    initFailure = undefined
    spawnedAt = performance.now()
    const runtime = spawnRuntime(api.address, options)
    child = runtime
    runtime.stdout?.setEncoding('utf8').on('data', onOutput)
    runtime.stderr?.setEncoding('utf8').on('data', onOutput)
    runtime.once('error', (error) => onOutput(`${error.message}\n`))
    childClosed = new Promise((resolve) => {
      runtime.once('close', (code, signal) => {
        resolve()
        void onClose({ code, signal })
      })
    })
    timer = setTimeout(() => {
      const errorMessage = `${options.handler} was not loaded within ${initTimeoutMs} ms`
      initFailure = { errorType: 'Sandbox.Timedout', errorMessage }
      runtime.kill('SIGKILL')
    }, initTimeoutMs)
  }

  async function onClose(exit: Exit): Promise<void> {
    // The last bytes of a dead process may still wait in its sockets; a client that takes nothing must not keep them.
    if (body?.isPaused()) body.destroy()
    body?.once('pause', () => body?.destroy())
    await api.released()
    clearTimeout(timer)
    give = undefined

    const errorMessage = `Error: Runtime exited with error: ${exit.signal ? `signal: ${exit.signal}` : `exit status ${exit.code}`}`
    const failure: Failure = { errorType: 'Runtime.ExitError', errorMessage }
    if (!loaded && !stopped) {
      initFailure ??= failure
      onInitError(initFailure)
      rejectReady(new Error(`${initFailure.errorType}: ${initFailure.errorMessage}`))
    }
    if (job && !answered) fail(loaded ? failure : (initFailure ?? failure))
    finish()
    child = undefined
    onExit(exit)
    if (!stopped) onFree()
  }

  start()

  return {
    get state() {
      if (job || stopped) return 'busy'
      if (!child) return 'cold'
      return give ? 'warm' : 'busy'
    },
    get pid() {
      return child?.pid
    },
    ready,
    run(next) {
      job = next
      if (!child) start()
      proceed()
    },
    async stop() {
      stopped = true
      child?.kill('SIGKILL')
      await childClosed
      await api.close()
    },
  }
}
