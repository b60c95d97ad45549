/** What we use of a client's connection: Node's `net.Socket`. A platform's substitute may have less. */
export interface Connection {
  readonly remoteAddress?: string | undefined
  readonly destroyed?: boolean | undefined
  readonly bytesRead?: number | undefined
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
