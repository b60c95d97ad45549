// What holds for an upstream that is asked with the platform's fetch holds over node:http: the same tests.
import { vi } from 'vitest'
import { createNodeFetch } from '../../adapters/node.ts'

vi.stubGlobal('fetch', createNodeFetch())
await import('../src/upstreams/openai.test.ts')
await import('../src/upstreams/refusal.test.ts')
await import('../src/upstreams/truth.test.ts')
