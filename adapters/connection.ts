/** What we use of a client's connection: Node's `net.Socket`. A platform's substitute may have less. */
export interface Connection {
  readonly remoteAddress?: string | undefined
  readonly destroyed?: boolean | undefined
  readonly bytesRead?: number | undefined
  /** Node's HTTP parser. It is not documented. */
  readonly parser?: { onIncoming?: unknown } | null | undefined
  pause?(): unknown
  once?(event: 'close', listener: () => void): unknown
  destroy?(): unknown
  resetAndDestroy?(): unknown
}

/**
 * Closes a connection with RST: the kernel then frees at once what the client has not taken. After a normal close it
 * would keep that for minutes. TLS and local sockets have no reset and are closed normally.
 */
export function reset(connection: Connection): void {
  try {
    if (connection.resetAndDestroy) connection.resetAndDestroy()
    else connection.destroy?.()
  } catch {
    connection.destroy?.() // ERR_INVALID_HANDLE_TYPE: this is no plain TCP connection
  }
}

/**
 * Closes a connection with RST in the middle of what it has sent. Node has read up to 64 KiB of that and would make a
 * request and an error of each of the maybe 1,500 requests in it, which blocks the process for 200 ms.
 */
export function cutOff(connection: Connection): void {
  // Where a later version of Node has no such parser, those requests arrive and are dropped one by one.
  if (connection.parser?.onIncoming) connection.parser.onIncoming = () => 0
  reset(connection)
}
