import { aiSdk, aiSdkAgain, aiSdkFrom, tailHeader } from '../dialects/ai-sdk.ts'
import { createChunkIndex } from '../dialects/ai-sdk-index.ts'
import { ChatError, toChatError } from '../errors.ts'
import { empty } from '../http.ts'
import { readClient } from '../clients.ts'
import { chatName } from '../names.ts'
import type { Report } from '../report.ts'
import type { Call, Route } from '../router.ts'
import type { Service } from '../service.ts'
import { streamHeaders } from '../sse.ts'
import type { HttpReply, HttpRequest, StreamStore } from '../types.ts'

export interface UiMessageLog {
  readonly store: StreamStore
  readonly report: Report
}

/** Which reply is meant: of a conversation, by its name in the store; or one by its own id. */
interface Meant {
  readonly replyId: string
  readonly conversation?: string
}

/**
 * The AI SDK's chat: ask, come back, stop. What comes after `/api/chat/` is the page's name for a conversation, whose
 * running reply is meant, or the id of a reply.
 */
export function uiMessageRoutes(service: Service, { store, report }: UiMessageLog): readonly Route[] {
  const chunks = createChunkIndex(store)

  async function ask({ request }: Call): Promise<HttpReply> {
    return service.answer(aiSdk, await service.read(aiSdk, request, { plainText: true }), request)
  }

  /** The reply that a page means. The name of another client's conversation is as good as an unknown one. */
  async function replyOf(id: string, request: HttpRequest): Promise<Meant | undefined> {
    const { namespace } = await readClient(request)
    const conversation = namespace && chatName(namespace, id)
    const named = conversation === undefined ? undefined : await store.find(conversation)
    if (conversation !== undefined && named && (await service.find(named.id, request))) {
      return { replyId: named.id, conversation }
    }
    return (await service.find(id, request)) && { replyId: id }
  }

  async function resume({ request, url, id }: Call): Promise<HttpReply> {
    const startIndex = readStartIndex(url)
    const found = await replyOf(id, request)
    if (startIndex !== undefined) return goOn((await known(found)).replyId, startIndex, request)
    // A page that opens asks whether something is being answered: most often nothing is.
    if (!found) return empty(204)
    const { replyId, conversation } = found
    // What ended while the page was away is told to it once.
    const onRead = conversation === undefined ? undefined : () => forget(conversation, replyId)
    return service.follow(aiSdkAgain, { id: replyId, after: 0, onRead }, request)
  }

  async function forget(conversation: string, replyId: string): Promise<void> {
    try {
      await store.release(conversation, replyId)
    } catch (error) {
      report(toChatError(error), { replyId })
    }
  }

  async function goOn(id: string, startIndex: number, request: HttpRequest): Promise<HttpReply> {
    const { count, sealed, near } = await known(chunks.count(id, request.signal))
    const from = startIndex < 0 ? count + startIndex : startIndex
    if (sealed && from >= count) return empty(204, { 'x-reply-id': id, ...tailHeader(count) })
    const at = near(from)
    return service.follow(aiSdkFrom(from, count, at), { id, after: at.seq }, request)
  }

  async function headOfReply({ request, id }: Call): Promise<HttpReply> {
    const found = await replyOf(id, request)
    if (!found) return empty(204)
    const { replyId } = found
    return empty(200, { ...streamHeaders, 'x-reply-id': replyId, ...aiSdk.headers?.(replyId) })
  }

  async function stop({ request, id }: Call): Promise<HttpReply> {
    const { replyId } = await known(replyOf(id, request))
    return service.stop(replyId, request)
  }

  const { refuse } = aiSdk
  return [
    { method: 'POST', path: /^\/api\/chat$/, answer: ask, refuse },
    { method: 'GET', path: /^\/api\/chat\/([^/]+)\/stream$/, answer: resume, head: headOfReply, refuse },
    { method: 'POST', path: /^\/api\/chat\/([^/]+)\/stop$/, answer: stop, refuse },
    { method: 'DELETE', path: /^\/api\/chat\/([^/]+)$/, answer: stop, refuse },
  ]
}

/** The index of the chunk to go on at: from the end when it is negative. Undefined when the request names none. */
function readStartIndex(url: URL): number | undefined {
  const text = url.searchParams.get('startIndex')
  if (text === null) return undefined
  if (/^-?\d{1,15}$/.test(text)) return Number(text)
  const got = JSON.stringify(text.slice(0, 40))
  throw new ChatError('bad-cursor', `\`startIndex\` must be a whole number; got ${got}.`, {
    param: 'startIndex',
  })
}

async function known<T>(thing: T | undefined | Promise<T | undefined>): Promise<T> {
  const found = await thing
  if (found !== undefined) return found
  throw new ChatError(
    'not-found',
    'Nothing is being answered in this chat, and there is no reply with this id.',
  )
}
