import type { Question } from './stream.ts'

/** What is measured: a way to ask a server. */
export interface Subject {
  readonly name: SubjectName
  /** Several subjects can be ways to ask the same one. */
  readonly server: ServerName
  readonly ask: Omit<Question, 'host' | 'port'>
}

export type ServerName =
  'direct' | 'pipe' | 'nginx' | 'deltarelay' | 'tutorial' | 'hono' | 'langchain' | 'ai-sdk' | 'redis'

export type SubjectName = keyof typeof asked

/** What is compared in most regimes; the model itself is beside them where it can be. */
export const everyone = [
  'nginx',
  'pipe',
  'deltarelay',
  'tutorial',
  'langchain',
  'hono',
  'ai-sdk',
] as const satisfies readonly SubjectName[]

const openai = {
  path: '/v1/chat/completions',
  wire: 'openai',
  body: '{"model":"bench","stream":true,"messages":[{"role":"user","content":"PROMPT"}]}',
  headers: { authorization: 'Bearer any' },
} as const
const ours = { path: '/chat', wire: 'events', body: '{"prompt":"PROMPT"}', headers: {} } as const
const plain = { path: '/chat', wire: 'plain', body: '{"prompt":"PROMPT"}', headers: {} } as const
const ui = {
  path: '/api/chat',
  wire: 'ui',
  body:
    '{"id":"chat-of-the-benchmark","trigger":"submit-message","messages":' +
    '[{"id":"m1","role":"user","parts":[{"type":"text","text":"PROMPT"}]}]}',
  headers: {},
} as const

const asked = {
  /** The model itself: nothing in between. */
  direct: { server: 'direct', ask: openai },
  pipe: { server: 'pipe', ask: openai },
  nginx: { server: 'nginx', ask: openai },
  deltarelay: { server: 'deltarelay', ask: ours },
  'deltarelay, openai': { server: 'deltarelay', ask: openai },
  'deltarelay, ai-sdk': { server: 'deltarelay', ask: ui },
  'deltarelay, redis': { server: 'redis', ask: ours },
  // Its clients may come back, so that it is asked to stop for those who leave, as the others do.
  'deltarelay, cancel': {
    server: 'deltarelay',
    ask: { ...ours, headers: { 'x-on-disconnect': 'cancel' } },
  },
  tutorial: { server: 'tutorial', ask: plain },
  hono: { server: 'hono', ask: plain },
  langchain: { server: 'langchain', ask: plain },
  'ai-sdk': { server: 'ai-sdk', ask: ui },
} as const satisfies Record<string, Omit<Subject, 'name'>>

export function subjectOf(name: SubjectName): Subject {
  return { name, ...asked[name] }
}
