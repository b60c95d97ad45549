/**
 * One event of Server-Sent Events: WHATWG HTML, "9.2.6 Interpreting an event stream".
 * `data` must not hold CR or LF (JSON never does); `id` must not hold CR, LF or NUL.
 */
export function event(data: string, id?: string | number): string {
  return id === undefined ? `data: ${data}\n\n` : `id: ${id}\ndata: ${data}\n\n`
}

/** A comment: readers ignore it, proxies see a living connection. */
export const heartbeatFrame = ': \n\n'

/**
 * Headers of every stream. `no-transform` keeps compressing proxies and middleware from holding events back,
 * `x-accel-buffering` does the same for nginx.
 */
export const streamHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
  'x-content-type-options': 'nosniff',
} as const
