import { createHash } from 'node:crypto'
import { copyFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { ChatTransport, UIMessage, UIMessageChunk } from 'ai'
import { installOnce } from '../lambda/install.ts'

/** What we use of `WorkflowChatTransport`, as @ai-sdk/workflow describes it. */
export type Transport = ChatTransport<UIMessage> & {
  reconnectToStream(options: {
    readonly chatId: string
    readonly startIndex?: number
  }): Promise<ReadableStream<UIMessageChunk> | null>
}

type TransportClass = new (options: {
  readonly api: string
  readonly fetch?: typeof globalThis.fetch
  readonly onChatSendMessage?: (response: Response) => void
  readonly onChatEnd?: (end: { readonly chunkIndex: number }) => void
}) => Transport

const manifests = fileURLToPath(new URL('./workflow/', import.meta.url))

/**
 * The transport of @ai-sdk/workflow, from the cache or from the npm registry. Its package asks for the whole workflow
 * engine, which the transport does not use, so that it is no development dependency.
 *
 * Undefined when it cannot be installed: prints the reason, and throws it on a CI machine, where nothing may be skipped.
 */
export async function loadTransport(): Promise<TransportClass | undefined> {
  try {
    const home = await install()
    const file = join(home, 'node_modules/@ai-sdk/workflow/dist/client.js')
    const loaded = (await import(pathToFileURL(file).href)) as { WorkflowChatTransport: TransportClass } // its only export
    return loaded.WorkflowChatTransport
  } catch (error) {
    const reason = `@ai-sdk/workflow could not be installed: ${(error as Error).message}`
    if (process.env['CI']) throw new Error(reason, { cause: error })
    console.warn(`Skipping the tests with its WorkflowChatTransport. ${reason}`)
    return undefined
  }
}

async function install(): Promise<string> {
  const lockfile = await readFile(join(manifests, 'package-lock.json'))
  const version = createHash('sha256').update(lockfile).digest('hex').slice(0, 12)
  return installOnce(`workflow-client-${version}`, ['ci', '--legacy-peer-deps'], async (directory) => {
    for (const name of ['package.json', 'package-lock.json']) {
      await copyFile(join(manifests, name), join(directory, name))
    }
  })
}
