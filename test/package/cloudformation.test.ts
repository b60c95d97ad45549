import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSimulator } from '../../simulator/index.ts'
import { startLambda } from '../lambda/emulator.ts'
import { missingRuntime } from '../lambda/lab.ts'
import { packageService, type Resource, type Service } from './service.ts'

const planted = {
  OPENAI_API_KEY: 'sk-proj-planted0123456789',
  AWS_SECRET_ACCESS_KEY: 'planted/aws/secret',
  OPENAI_MODEL: 'gpt-of-the-caller',
  REDIS_URL: 'rediss://:planted-redis@r.example',
}
const reference = '{{resolve:secretsmanager:deltarelay/openai:SecretString:apiKey}}'

const missing = await missingRuntime()
let service: Service

beforeAll(async () => {
  service = await packageService(planted)
}, 240_000)

afterAll(() => service?.remove())

/** The properties of the resources of a type, by logical id. */
function properties(type: string): Readonly<Record<string, Resource['Properties']>> {
  const found = Object.entries(service.template.Resources).filter(([, resource]) => resource.Type === type)
  return Object.fromEntries(found.map(([id, resource]) => [id, resource.Properties]))
}

function variables(id: string): Readonly<Record<string, unknown>> {
  const { Variables } = properties('AWS::Lambda::Function')[id]!['Environment'] as Record<string, object>
  return { ...Variables }
}

describe('the template', () => {
  test('has two functions on Node.js 24 and arm64', () => {
    expect(properties('AWS::Lambda::Function')).toEqual({
      ChatLambdaFunction: expect.objectContaining({
        Handler: 'dist/lambda/chat/index.handler',
        Runtime: 'nodejs24.x',
        Architectures: ['arm64'],
        Timeout: 300,
      }),
      ApiLambdaFunction: expect.objectContaining({
        Handler: 'dist/lambda/api/index.handler',
        Runtime: 'nodejs24.x',
        Architectures: ['arm64'],
        Timeout: 29,
      }),
    })
  })

  test('streams the chat function through the only function URL', () => {
    expect(properties('AWS::Lambda::Url')).toEqual({
      ChatLambdaFunctionUrl: {
        AuthType: 'AWS_IAM',
        InvokeMode: 'RESPONSE_STREAM',
        TargetFunctionArn: { 'Fn::GetAtt': ['ChatLambdaFunction', 'Arn'] },
      },
    })
  })

  test('lets nobody call the functions without IAM: only the HTTP API has a permission of its own', () => {
    const permissions = Object.values(properties('AWS::Lambda::Permission'))

    expect(permissions).toEqual([expect.objectContaining({ Principal: 'apigateway.amazonaws.com' })])
  })

  test('bounds how many answers are written and paid for at once', () => {
    const functions = Object.entries(properties('AWS::Lambda::Function'))
    const bounds = functions.map(([id, { ReservedConcurrentExecutions: bound }]) => [id, bound])

    expect(Object.fromEntries(bounds)).toEqual({ ChatLambdaFunction: 50, ApiLambdaFunction: 10 })
  })

  test('sends every route of one HTTP API to the api function', () => {
    expect(Object.values(properties('AWS::ApiGatewayV2::Api'))).toEqual([
      expect.objectContaining({ ProtocolType: 'HTTP' }),
    ])
    expect(Object.values(properties('AWS::ApiGatewayV2::Route'))).toEqual([
      expect.objectContaining({ RouteKey: '$default', AuthorizationType: 'AWS_IAM' }),
    ])
    expect(Object.values(properties('AWS::ApiGatewayV2::Integration'))).toEqual([
      expect.objectContaining({ IntegrationUri: { 'Fn::GetAtt': ['ApiLambdaFunction', 'Arn'] } }),
    ])
  })

  test('tells the api function where streams are', () => {
    const { CHAT_URL } = variables('ApiLambdaFunction')

    expect(CHAT_URL).toEqual({ 'Fn::GetAtt': ['ChatLambdaFunctionUrl', 'FunctionUrl'] })
    expect(service.template.Resources).toHaveProperty('ChatLambdaFunctionUrl')
  })

  test('keeps logs for two weeks', () => {
    const groups = Object.values(properties('AWS::Logs::LogGroup'))

    expect(groups.map(({ RetentionInDays }) => RetentionInDays)).toEqual([14, 14])
  })

  test.each(['ChatLambdaFunction', 'ApiLambdaFunction'])('gives %s its key by reference', (id) => {
    expect(variables(id)).toMatchObject({ OPENAI_API_KEY: reference, OPENAI_MODEL: 'gpt-of-the-caller' })
  })

  test.each(['ChatLambdaFunction', 'ApiLambdaFunction'])(
    'gives %s no Redis unless somebody says so',
    (id) => {
      expect(variables(id)).toMatchObject({ REDIS_DOWN: '', REDIS_PREFIX: '', FOLLOW_MS: '', LEASE_MS: '' })
      expect(variables(id)).not.toHaveProperty('REDIS_URL')
    },
  )

  test('holds no secret of whoever packages', () => {
    const everything = service.documents.join('\n')

    expect(everything).not.toContain('planted')
    expect(everything).not.toMatch(/\b(?:sk|pk)-[\w-]{8,}|AKIA[A-Z0-9]{16}|-----BEGIN/)
  })
})

describe('the zip', () => {
  test('of the chat function holds its bundle and the page', () => {
    const names = service.files.chat.map(({ name }) => name.replace('dist/lambda/chat/', ''))

    expect(names.filter((name) => !/^part-\w+\.mjs$/.test(name)).sort()).toEqual([
      'index.mjs',
      'web/index.html',
      'web/page.css',
      'web/page.js',
    ])
  })

  test('of the api function holds its bundle alone', () => {
    expect(service.files.api.map(({ name }) => name)).toEqual(['dist/lambda/api/index.cjs'])
  })
})

describe.skipIf(missing)('under the real runtime, with the environment of the template,', () => {
  /** The variables of a function, as they are once CloudFormation has resolved its references. */
  function resolved(id: string, chosen: Readonly<Record<string, string>>): Record<string, string> {
    const texts = Object.entries(variables(id)).filter(([, value]) => typeof value === 'string')
    return { ...(Object.fromEntries(texts) as Record<string, string>), ...chosen } // strings only, see above
  }

  test('the zip of the chat function streams and serves the page', async () => {
    const simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
    const lambda = await startLambda({
      taskRoot: await service.unpack('chat'),
      handler: 'dist/lambda/chat/index.handler',
      env: resolved('ChatLambdaFunction', { OPENAI_API_KEY: 'any', OPENAI_BASE_URL: simulator.url }),
    })
    try {
      const stream = await fetch(`${lambda.url}/stream?prompt=hello`)
      const page = await fetch(lambda.url)

      expect(stream.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
      expect(await stream.text()).toMatch(/"type":"text".*"type":"finish","reason":"stop"/s)
      expect(simulator.requests[0]?.body).toMatchObject({ model: 'gpt-of-the-caller' })
      expect(await page.text()).toContain('<!doctype html>')
    } finally {
      await lambda.stop()
      await simulator.close()
    }
  })

  test('the zip of the api function answers whole, and says where streams are', async () => {
    const simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
    const lambda = await startLambda({
      taskRoot: await service.unpack('api'),
      handler: 'dist/lambda/api/index.handler',
      env: resolved('ApiLambdaFunction', {
        OPENAI_API_KEY: 'any',
        OPENAI_BASE_URL: simulator.url,
        CHAT_URL: 'https://chat.example/',
      }),
    })
    const headers = { 'content-type': 'application/json' }
    const post = (body: object): Promise<Response> =>
      fetch(`${lambda.url}/chat`, { method: 'POST', headers, body: JSON.stringify(body) })
    try {
      const whole = await post({ prompt: 'hello', stream: false })
      const refused = await post({ prompt: 'hello' })

      expect(whole.status).toBe(200)
      expect(await whole.json()).toMatchObject({ finishReason: 'stop' })
      expect(refused.status).toBe(501)
      expect(await refused.text()).toContain('https://chat.example/')
    } finally {
      await lambda.stop()
      await simulator.close()
    }
  })
})
