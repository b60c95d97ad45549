import { expect, onTestFinished, test } from 'vitest'
import { createApp } from '../../handlers/app.ts'
import { readOptions } from '../../handlers/options.ts'
import { createHandler } from '../../src/handler.ts'
import { withAllowedHosts } from '../../src/hosts.ts'
import { callerOf } from '../../src/names.ts'
import { host } from '../adapters/host.ts'
import { bare, dial, split } from '../adapters/raw.ts'
import { saying } from '../adapters/script.ts'
import { deployed, describeNginx, type Nginx, startNginx } from '../server/nginx.ts'

describeNginx('behind nginx, with the configuration of deploy/,', () => {
  async function start() {
    const callers: (string | undefined)[] = []
    const hosts = ['chat.lan']
    const handler = withAllowedHosts(createHandler({ model: 'm', upstream: saying('hi') }), { hosts })
    const app = createApp(
      (request) => {
        callers.push(callerOf(request))
        return handler(request)
      },
      readOptions({ TRUSTED_PROXIES: '1' }),
    )
    const server = await host(app)
    const address = `127.0.0.1:${server.port}`
    const nginx = await startNginx(await deployed([address, address]))
    onTestFinished(async () => {
      await nginx.stop()
      await server.close()
    })
    return { nginx, callers }
  }

  async function statusFor({ port }: Nginx, name: string, ...more: readonly string[]): Promise<number> {
    const wire = await dial(port)
    wire.send(bare('GET /models', ['Connection: close', ...more]).replace('localhost', name))
    return split(await wire.closed).status
  }

  test('a client cannot choose the address that it is counted by', async () => {
    const { nginx, callers } = await start()

    for (const forged of ['198.51.100.1', '198.51.100.2, 198.51.100.3', 'localhost', '']) {
      await statusFor(nginx, 'chat.lan', `X-Forwarded-For: ${forged}`)
    }

    expect(callers).toEqual(Array(4).fill('address 127.0.0.1'))
  })

  test('the host of a client is checked, not that of the proxy', async () => {
    const { nginx } = await start()
    expect(await statusFor(nginx, 'chat.lan')).toBe(200)
    expect(await statusFor(nginx, 'evil.example')).toBe(421)
    expect(await statusFor(nginx, 'evil.example', 'X-Forwarded-Host: chat.lan')).toBe(421)
    // nginx itself refuses two of them.
    expect(await statusFor(nginx, 'chat.lan', 'Host: evil.example')).toBe(400)
  })
})
