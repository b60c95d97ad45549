import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { bare, dial, post, split, type Wire } from '../adapters/raw.ts'
import { redisAvailable } from '../redis/gate.ts'
import { type RedisServer, startRedis } from '../redis/server.ts'
import { deployed, describeNginx, type Nginx, startNginx } from './nginx.ts'
import { createLauncher, type Launcher, portOf, type ServerProcess } from './process.ts'
import { type Question, startStepModel, type StepModel } from './step-model.ts'

/** nginx as it comes, in front of another one: it holds events back unless the answer says that it must not. */
const plain = (port: number, more = ''): string => `
events {}
http {
  access_log off;
  server {
    listen 80;
    ${more}
    location / { proxy_pass http://127.0.0.1:${port}; }
  }
}
# /dev/stdout
`

const gzipped = 'gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any; proxy_http_version 1.1;'

interface Instance {
  readonly server: ServerProcess
  readonly model: StepModel
  readonly port: number
}

describeNginx('behind nginx, with the configuration of deploy/', () => {
  describe.skipIf(!redisAvailable())('and with one Redis', () => {
    let launcher: Launcher
    let redis: RedisServer
    let instances: Record<'one' | 'two', Instance>
    let asked: Question[]
    let nginx: Nginx
    const proxies: Nginx[] = []
    beforeAll(async () => {
      ;[launcher, redis] = await Promise.all([createLauncher(), startRedis()])
    })
    beforeEach(async () => {
      asked = []
      const [one, two] = await Promise.all([start('one'), start('two')])
      instances = { one, two }
      nginx = await proxy(await deployed([`127.0.0.1:${one.port}`, `127.0.0.1:${two.port}`]))
    })
    afterEach(async () => {
      await Promise.all(proxies.splice(0).map((each) => each.stop()))
      await launcher.stopAll()
      await Promise.all(Object.values(instances).map(({ model }) => model.stop()))
    })
    afterAll(async () => {
      await Promise.all([launcher.remove(), redis.stop()])
    })

    async function start(name: string): Promise<Instance> {
      const model = await startStepModel(name, asked)
      const server = launcher.launch({
        OPENAI_BASE_URL: model.url,
        UPSTREAM_RETRIES: '0',
        REDIS_URL: redis.url,
        LEASE_MS: '1000',
      })
      return { server, model, port: portOf(await server.ready) }
    }

    async function proxy(configuration: string): Promise<Nginx> {
      const started = await startNginx(configuration)
      proxies.push(started)
      return started
    }

    /** Asks, and resolves when a model has the question. */
    async function ask(
      text: string,
      {
        headers = [],
        through = nginx,
      }: { readonly headers?: readonly string[]; readonly through?: Nginx } = {},
    ): Promise<{ readonly wire: Wire; readonly question: Question }> {
      const wire = await dial(through.port)
      wire.send(post('/chat', { prompt: text }, headers))
      return { wire, question: await reached(text) }
    }

    async function reached(text: string): Promise<Question> {
      await expect.poll(() => asked.some((question) => question.text.includes(`"${text}"`))).toBe(true)
      return asked.find((question) => question.text.includes(`"${text}"`))!
    }

    /** Asks and gets the whole answer. */
    async function askAll(text: string, headers: readonly string[] = []): Promise<number> {
      const { wire, question } = await ask(text, { headers: [...headers, 'Connection: close'] })
      question.say('fine')
      question.finish()
      const { status, body } = split(await wire.closed)
      expect(body).toContain('"type":"finish","reason":"stop"')
      return status
    }

    function get(path: string, headers: readonly string[] = []): Promise<string> {
      return dial(nginx.port).then((wire) => {
        wire.send(bare(`GET ${path}`, ['Connection: close', ...headers]))
        return wire.closed
      })
    }

    const idIn = (text: string): string => /x-reply-id: (\S+)/i.exec(text)![1]!
    const words = ['Hel', 'lo, ', 'wörld', '!']

    test('every event leaves before the model has said the next one', async () => {
      const { wire, question } = await ask('step by step')

      for (const word of words) {
        question.say(word)
        await wire.until(`"text":"${word}"`)
      }

      expect(wire.text).toMatch(/^HTTP\/1.1 200 /)
      expect(wire.text).toMatch(/\r\nx-accel-buffering: no\r\n/i)
      question.finish()
      await wire.until('"type":"finish"')
    })

    test.each([
      ['as it comes', '', 'identity'],
      ['that compresses everything', gzipped, 'gzip'],
    ])('every event leaves through a second nginx %s', async (_, more, encoding) => {
      const outer = await proxy(plain(nginx.port, more))

      const answering = fetch(`${outer.url}/chat`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'accept-encoding': encoding },
        body: JSON.stringify({ prompt: 'twice' }),
      })
      const question = await reached('twice')
      question.say('first')
      const response = await answering
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
      let text = ''
      for (const word of ['first', ...words]) {
        if (word !== 'first') question.say(word) // that one is on its way
        while (!text.includes(`"text":"${word}"`)) text += (await reader.read()).value
      }

      expect(response.headers.get('content-encoding') ?? 'identity').toBe(encoding)
      await reader.cancel()
    })

    test('an answer that was cut goes on at either instance, and the bytes join exactly', async () => {
      const { wire, question } = await ask('cut')
      for (const word of words) question.say(word)
      const seen = await wire.until('"text":"!"')
      const id = idIn(seen)
      const head = split(seen).body
      wire.leave('RST')
      for (const word of words) question.say(word)

      const coming = [1, 2, 3, 4].map(() => get(`/chat/${id}`, ['Last-Event-ID: 5']))
      question.finish()
      const rests = (await Promise.all(coming)).map((text) => split(text).body)
      const whole = split(await get(`/chat/${id}`)).body

      expect(rests).toEqual(Array.from({ length: 4 }, () => rests[0]))
      expect(head + rests[0]).toBe(whole)
      expect(whole).toMatch(/id: 10\ndata: \{"type":"finish","reason":"stop"\}\n\n$/)
      const served = (await nginx.log()).split('\n').filter((line) => line.includes(` GET /chat/${id} `))
      expect(new Set(served.map((line) => line.split(' ')[5])).size).toBe(2)
    })

    test('a stop reaches the model from either instance', async () => {
      const running = await Promise.all(['stop one', 'stop two'].map((text) => ask(text)))
      for (const { question } of running) question.say('on and on')
      const texts = await Promise.all(running.map(({ wire }) => wire.until('"text"')))

      // In turns, and the answers are at one instance each: the second of both reaches the other one at the latest.
      const stops = await Promise.all(
        texts.map((text) => fetch(`${nginx.url}/chat/${idIn(text)}/stop`, { method: 'POST' })),
      )

      expect(await Promise.all(stops.map((response) => response.json()))).toEqual(
        texts.map((text) => ({ id: idIn(text), status: 'stopped' })),
      )
      await Promise.all(running.map(({ question }) => question.closed))
      await Promise.all(running.map(({ wire }) => wire.until('"reason":"cancelled"')))
    })

    test('an instance that is told to end is taken out, and no answer is lost', async () => {
      const running = await Promise.all(['drain one', 'drain two'].map((text) => ask(text)))
      expect(new Set(running.map(({ question }) => question.model)).size).toBe(2)
      for (const { question } of running) question.say('begun')
      await Promise.all(running.map(({ wire }) => wire.until('"text"')))
      const { server, port } = instances.one

      server.child.kill('SIGTERM')
      await expect.poll(() => fetch(`http://127.0.0.1:${port}/readyz`).then(({ status }) => status)).toBe(503)
      const during = [1, 2, 3, 4, 5, 6].map((n) =>
        askAll(`while ${n}`, [`Idempotency-Key: key-${n}-${port}`]),
      )

      expect(await Promise.all(during)).toEqual([200, 200, 200, 200, 200, 200])
      for (const { question } of running) question.finish()
      await Promise.all(running.map(({ wire }) => wire.until('"type":"finish","reason":"stop"')))
      expect(await server.exited).toBe(0)
      const after = [1, 2, 3, 4].map((n) => askAll(`after ${n}`))
      expect(await Promise.all(after)).toEqual([200, 200, 200, 200])
      expect(instances.two.model.questions.length).toBe(1 + 6 + 4)
    })

    test('without a key, an instance that is about to end refuses, and nobody else is asked', async () => {
      const { question } = await ask('keeps it')
      question.say('begun')
      const { server, port } = instances[question.model as 'one' | 'two'] // as they were started
      server.child.kill('SIGTERM')
      await expect.poll(() => fetch(`http://127.0.0.1:${port}/readyz`).then(({ status }) => status)).toBe(503)

      const wires = await Promise.all([dial(nginx.port), dial(nginx.port)])
      for (const wire of wires) wire.send(post('/chat', { prompt: 'one of us' }))
      const refused = await Promise.race(wires.map((wire) => wire.until('server-shutdown')))

      expect(refused).toMatch(/^HTTP\/1.1 503 [^]*\r\nretry-after: 1\r\n/i)
      await reached('one of us')
      expect(asked.filter(({ text }) => text.includes('one of us')).length).toBe(1)
    })

    test('after an instance was killed questions are answered, and its readers are told', async () => {
      const { wire, question } = await ask('lost')
      question.say('begun')
      const id = idIn(await wire.until('"text"'))
      const { server } = instances[question.model as 'one' | 'two'] // as they were started
      // Readers at the instance that writes are a moment ahead of the log.
      const other = instances[question.model === 'one' ? 'two' : 'one'].port
      const length = async () =>
        (await fetch(`http://127.0.0.1:${other}/chat/${id}`, { method: 'HEAD' })).headers.get(
          'x-reply-length',
        )
      await expect.poll(length).toBe('2')

      server.child.kill('SIGKILL')
      const cut = await wire.closed
      const statuses = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => askAll(`next ${n}`)))

      expect(cut).not.toContain('"type":"finish"')
      expect(statuses).toEqual([200, 200, 200, 200, 200, 200])
      expect(split(await get(`/chat/${id}`, ['Last-Event-ID: 2'])).body).toMatch(
        /^(: \n\n)*id: 3\ndata: \{"type":"error","code":"producer-lost","message":"[^"]+","retryable":true\}\n\n$/,
      )
    })

    test.each([
      ['without a key it is a 502', [], 502, /502 Bad Gateway/],
      ['with a key it is found again: lost', ['Idempotency-Key: mine'], 503, /"code":"producer-lost"/],
    ])(
      'a question whose instance dies before the first delta is never asked twice: %s',
      async (_, headers, status, body) => {
        const { wire, question } = await ask('dies', { headers: [...headers, 'Connection: close'] })
        const { server } = instances[question.model as 'one' | 'two'] // as they were started

        server.child.kill('SIGKILL')
        const answer = split(await wire.closed)

        expect([answer.status, answer.body]).toEqual([status, expect.stringMatching(body)])
        expect(asked.length).toBe(1)
      },
    )

    test('a body that is too large is refused by the service, in JSON', async () => {
      const response = await fetch(`${nginx.url}/chat`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x'.repeat(300_000) }),
      })

      expect([response.status, await response.json()]).toEqual([
        413,
        { error: { code: 'body-too-large', message: expect.any(String) } },
      ])
    })

    test('a page at the address of nginx may ask as `WorkflowChatTransport` does, in plain text', async () => {
      const asking = (origin: string) =>
        fetch(`${nginx.url}/api/chat`, {
          method: 'POST',
          headers: { 'content-type': 'text/plain', origin },
          body: '{}',
        }).then(({ status }) => status)

      expect([await asking(nginx.url), await asking('http://elsewhere.example')]).toEqual([400, 415])
    })

    test('what is asked is not in the log of nginx', async () => {
      const wire = await dial(nginx.port)
      wire.send(bare('GET /stream?prompt=canary'))
      const question = await reached('canary')
      question.say('word')
      question.finish()
      const id = idIn(await wire.until('"type":"finish"'))

      await expect.poll(() => nginx.log()).toMatch(new RegExp(` GET /stream 200 .* ${id}\n`))
      expect(await nginx.log()).not.toContain('canary')
    })
  })
})
