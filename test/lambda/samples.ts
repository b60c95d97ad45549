import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A directory with the sample handlers, for `taskRoot`. */
export interface Samples {
  readonly directory: string
  remove(): Promise<void>
}

/**
 * Writes handlers that behave as real ones do and as they should not.
 *
 * `index.handler` streams and picks a behaviour by the path, `index.buffered` returns, `broken.handler` fails to load.
 */
export async function writeSamples(): Promise<Samples> {
  const directory = await mkdtemp(join(tmpdir(), 'deltarelay-lambda-'))
  await writeFile(join(directory, 'index.mjs'), handlers)
  await writeFile(join(directory, 'broken.mjs'), `throw new TypeError('OPENAI_API_KEY is not set')`)
  return { directory, remove: () => rm(directory, { recursive: true }) }
}

const handlers = /* js */ `
import { once } from 'node:events'

const gate = (name) => fetch(process.env.GATE + '/' + name)
const from = (stream, head = {}) => awslambda.HttpResponseStream.from(stream, { statusCode: 200, ...head })
const event = { 'content-type': 'text/event-stream' }

const paths = {
  '/one-by-one': async (_event, stream) => {
    const out = from(stream, { statusCode: 201, headers: { ...event, 'X-Word': 'yes' }, cookies: ['a=1', 'b=2; Secure'] })
    for (const word of ['one', 'two', 'three']) {
      out.write(word)
      await gate(word)
    }
    out.end()
  },
  '/end-only': async (_event, stream) => from(stream, { statusCode: 418 }).end(),
  '/end-text': async (_event, stream) => from(stream, { statusCode: 418 }).end('text'),
  '/empty-write': async (_event, stream) => {
    const out = from(stream, { statusCode: 418, headers: event })
    out.write('')
    out.end()
  },
  '/head-first': async (_event, stream) => {
    const out = from(stream, { headers: event })
    out.write('')
    await gate('data')
    out.write('data')
    out.end()
  },
  '/without-head': async (_event, stream) => {
    stream.setContentType('text/plain')
    stream.write('plain')
    stream.end()
  },
  '/throw-early': async () => {
    throw new RangeError('too early')
  },
  '/throw-late': async (_event, stream) => {
    from(stream).write('kept')
    throw new RangeError('too late')
  },
  '/destroy': async (_event, stream) => {
    from(stream).write('kept')
    await gate('destroy')
    stream.destroy(new Error('destroyed'))
  },
  '/exit': async () => process.exit(3),
  '/never-begin': () => new Promise(() => {}),
  '/never-end': async (_event, stream) => {
    from(stream).write('kept')
    await new Promise(() => {})
  },
  '/after-end': async (_event, stream) => {
    from(stream).write('all')
    stream.end()
    await gate('after-end')
    console.log('went on after the end')
  },
  '/abandoned': async (_event, stream) => {
    const heard = []
    for (const name of ['close', 'error', 'finish']) stream.on(name, () => heard.push(name))
    const out = from(stream)
    out.write('first')
    await gate('abandoned')
    for (let i = 0; i < 100; i += 1) if (!out.write('x'.repeat(65536))) await once(out, 'drain')
    console.log('before the end heard [' + heard + ']')
    out.end()
  },
  '/much': async (_event, stream) => {
    const out = from(stream)
    const size = 1024
    let highest = 0
    for (let sent = 0; sent < 20 * 1024 * 1024; sent += size) {
      const ready = out.write(Buffer.alloc(size, 'x'))
      highest = Math.max(highest, out.writableLength)
      if (ready) continue
      const stalled = setTimeout(() => console.log('stalled after ' + sent), 300)
      await once(out, 'drain')
      clearTimeout(stalled)
    }
    console.log('highest writableLength ' + highest)
    out.end()
  },
  '/bytes': async (_event, stream) => {
    const out = from(stream, { headers: { 'content-type': 'text/plain; charset=utf-8' } })
    for (const byte of Buffer.from('€ 😀 ü')) {
      out.write(Buffer.of(byte))
      await new Promise(setImmediate)
    }
    out.end()
  },
  '/echo/a%20b': async (event, stream) => {
    const out = from(stream, { headers: { 'content-type': 'application/json' } })
    out.write(JSON.stringify(event))
    out.end()
  },
  '/cors': async (_event, stream) => {
    const out = from(stream, { headers: { 'access-control-allow-origin': '*' } })
    out.write('')
    out.end()
  },
}

export const handler = awslambda.streamifyResponse((event, stream, context) => paths[event.rawPath](event, stream, context))

const results = {
  '/structured': () => ({
    statusCode: 202,
    headers: { 'X-Word': 'yes' },
    cookies: ['a=1', 'b=2'],
    body: Buffer.from('bytes').toString('base64'),
    isBase64Encoded: true,
  }),
  '/json': () => ({ message: 'any value' }),
  '/throw': () => {
    throw new RangeError('refused')
  },
  '/huge': () => 'x'.repeat(6 * 1024 * 1024),
  '/nonsense': () => ({ statusCode: 'soon' }),
}

export const buffered = async (event) => results[event.rawPath]()
`
