import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { type Options, OptionsError, readOptions } from '../../handlers/options.ts'

const directory = mkdtempSync(join(tmpdir(), 'upstreams-'))
afterAll(() => rmSync(directory, { recursive: true }))

const a = { name: 'a', baseURL: 'http://127.0.0.1:1/v1' }
const b = { name: 'b', baseURL: 'https://b.example/v1' }

function options(upstreams: unknown, env: Record<string, string> = {}): Options {
  return readOptions({ UPSTREAMS: JSON.stringify(upstreams), ...env })
}

function problems(upstreams: unknown, env: Record<string, string> = {}): readonly string[] {
  try {
    options(upstreams, typeof upstreams === 'string' ? { UPSTREAMS: upstreams, ...env } : env)
  } catch (error) {
    if (error instanceof OptionsError) return error.problems
    throw error
  }
  return []
}

test('every field is read, and the key from the variable that is named', () => {
  const rest = {
    api: 'responses',
    models: { ours: 'theirs' },
    headersTimeoutMs: 1,
    firstDeltaTimeoutMs: 2,
    idleTimeoutMs: 3,
    organization: 'org',
    project: 'proj',
  }
  const headers = { 'X-Region': 'eu west' }
  const headerVariables = { 'X-Token': 'A_TOKEN' }

  const { upstreams } = options([{ ...a, ...rest, keyVariable: 'A_KEY', headers, headerVariables }, b], {
    A_KEY: ' sk-a ',
    A_TOKEN: 'a token',
  })

  const sent = { 'X-Region': 'eu west', 'X-Token': 'a token' }
  expect(upstreams).toEqual([{ ...a, ...rest, apiKey: 'sk-a', headers: sent }, b])
})

test('a list of models with * in it is no list: any model', () => {
  const { upstreams, model, models } = options([
    { ...a, models: ['*'] },
    { ...b, models: ['x', '*'] },
  ])

  expect(upstreams).toEqual([a, b])
  expect({ model, models }).toEqual({ model: 'gpt-4.1-mini', models: ['gpt-4.1-mini'] })
})

test('a file is read where the value is its path', () => {
  const path = join(directory, 'upstreams.json')
  writeFileSync(path, `\uFEFF${JSON.stringify([a, b], null, 2)}\n`)

  expect(readOptions({ UPSTREAMS: ` ${path} ` }).upstreams).toEqual([a, b])
})

test.each<[string, object[], Record<string, string>, Pick<Options, 'model' | 'models'>]>([
  ['of no entry', [a, b], {}, { model: 'gpt-4.1-mini', models: ['gpt-4.1-mini'] }],
  [
    'of all entries',
    [a, { ...b, models: { y: 'Y', x: 'X' } }, { ...a, name: 'c', models: ['x', 'z'] }],
    {},
    { model: 'y', models: ['y', 'x', 'z'] },
  ],
  ['of a request', [{ ...a, models: ['x', 'y'] }], { OPENAI_MODEL: 'y' }, { model: 'y', models: ['y'] }],
  ['of a list', [{ ...a, models: ['x', 'y'] }], { MODELS: 'y,x' }, { model: 'y', models: ['y', 'x'] }],
  [
    'of any request',
    [{ ...a, models: ['gpt-4.1-mini'] }],
    { MODELS: '*' },
    { model: 'gpt-4.1-mini', models: '*' },
  ],
])('the models %s are those that may be asked for', (_, upstreams, env, expected) => {
  const { model, models } = options(upstreams, env)

  expect({ model, models }).toEqual(expected)
})

const theirs = /there are name, baseURL, keyVariable, api, models, headersTimeoutMs, /
/** A bad entry each, in the place of the second, and what its problem says. */
const rows: [string, unknown, RegExp][] = [
  ['text', 'canary', /^UPSTREAMS\[1\] must be an object$/],
  ['null', null, /^UPSTREAMS\[1\] must be an object$/],
  ['list', [b], /^UPSTREAMS\[1\] must be an object$/],
  ['missing name', { baseURL: b.baseURL }, /^UPSTREAMS\[1\]\.name is missing$/],
  ['name with a space', { ...b, name: 'ca nary' }, /^UPSTREAMS\[1\]\.name must be 1 to 64 letters/],
  ['name with a line break', { ...b, name: 'canary\n' }, /^UPSTREAMS\[1\]\.name must be 1 to 64 letters/],
  ['long name', { ...b, name: 'x'.repeat(65) }, /^UPSTREAMS\[1\]\.name must be /],
  ['empty name', { ...b, name: '' }, /^UPSTREAMS\[1\]\.name must be /],
  ['repeated name', { ...b, name: 'a' }, /^UPSTREAMS\[1\]\.name must differ from UPSTREAMS\[0\]\.name$/],
  ['missing address', { name: 'b' }, /^UPSTREAMS\[1\]\.baseURL is missing$/],
  ['address that is none', { ...b, baseURL: 'canary' }, /\.baseURL must be a URL that begins with http/],
  ['address of a file', { ...b, baseURL: 'file:///canary' }, /\.baseURL must be a URL that begins with http/],
  ['address with a fragment', { ...b, baseURL: 'https://b/v1#canary' }, /\.baseURL must not have a # in it$/],
  [
    'address with an empty fragment',
    { ...b, baseURL: 'https://b/v1#' },
    /\.baseURL must not have a # in it$/,
  ],
  ['address that is a number', { ...b, baseURL: 1 }, /\.baseURL must be a URL /],
  [
    'address with a key',
    { ...b, baseURL: 'http://u:canary@b' },
    /\.baseURL must not hold a .*keyVariable names$/,
  ],
  [
    'key',
    { ...b, apiKey: 'canary' },
    /\.apiKey must not be here: put the key into .* its name into keyVariable$/,
  ],
  ['key by another name', { ...b, api_key: 'canary' }, /\.api_key must not be here/],
  ['key in keyVariable', { ...b, keyVariable: 'sk-canary' }, /\.keyVariable must be the name of an env/],
  ['key in keyVariable', { ...b, keyVariable: 'canary' }, /\.keyVariable names an .* that is not set$/],
  ['empty variable', { ...b, keyVariable: 'EMPTY' }, /\.keyVariable names an .* that is not set$/],
  [
    'key with spaces',
    { ...b, keyVariable: 'SPACED' },
    /\.keyVariable names an .* whose value must consist of printable/,
  ],
  ['unknown api', { ...b, api: 'assistants' }, /\.api must be one of chat-completions, responses$/],
  ['list without models', { ...b, models: [] }, /\.models must be a list of names, or an object/],
  ['object without models', { ...b, models: {} }, /\.models must be a list of names, or an object/],
  ['model that is no name', { ...b, models: ['x', 1] }, /\.models must be a list of names, or an object/],
  ['model without a name', { ...b, models: { x: ' ' } }, /\.models must be a list of names, or an object/],
  ['null as models', { ...b, models: null }, /\.models must be a list of names, or an object/],
  ['null as a name', { ...b, name: null }, /\.name must be 1 to 64/],
  ['models as a text', { ...b, models: 'x' }, /\.models must be a list of names, or an object/],
  [
    'time of 0',
    { ...b, headersTimeoutMs: 0 },
    /\.headersTimeoutMs must be a whole number from 1 to 2147483647$/,
  ],
  ['time as a text', { ...b, firstDeltaTimeoutMs: '5' }, /\.firstDeltaTimeoutMs must be a whole number/],
  ['endless time', { ...b, idleTimeoutMs: 2 ** 31 }, /\.idleTimeoutMs must be a whole number/],
  [
    'organization with a line break',
    { ...b, organization: 'x\ny' },
    /\.organization must consist of printable/,
  ],
  ['headers that are a list', { ...b, headers: ['canary'] }, /\.headers must be an object of headers/],
  ['no headers', { ...b, headers: {} }, /\.headers must be an object of headers with at least one$/],
  ['header that is a number', { ...b, headers: { 'X-A': 1 } }, /\.headers has "X-A", which must be a text$/],
  [
    'header with a line break',
    { ...b, headers: { 'X-A': 'canary\nX-B: c' } },
    /which must consist of printable/,
  ],
  [
    'header name with a colon',
    { ...b, headers: { 'X:': 'canary' } },
    /has a name that no header can have: "X:"$/,
  ],
  ['header of the service', { ...b, headers: { Host: 'canary' } }, /must not have "Host": this service sets/],
  [
    'secret header',
    { ...b, headers: { 'X-Api-Key': 'canary' } },
    /"X-Api-Key", which must not be here: .*headerVariables$/,
  ],
  [
    'Authorization',
    { ...b, headers: { Authorization: 'canary' } },
    /which must not be here: .*headerVariables$/,
  ],
  [
    'header variable that is none',
    { ...b, headerVariables: { 'X-A': 'sk-canary' } },
    /which must be the name of an env/,
  ],
  [
    'header variable that is not set',
    { ...b, headerVariables: { 'X-A': 'canary' } },
    /which names an .* not set$/,
  ],
  [
    'header twice',
    { ...b, headers: { 'X-A': 'canary', 'x-a': 'canary' } },
    /^UPSTREAMS\[1\] must have the header "x-a" once$/,
  ],
  ['project that is no text', { ...b, project: 1 }, /\.project must be a text$/],
  ['unknown field', { ...b, timeout: 1 }, theirs],
  ['field that every object has', { ...b, toString: 1 }, theirs],
]

describe('a problem', () => {
  const env = { SPACED: 'sk canary', EMPTY: ' ' }

  test.each(rows)('is named: %s', (_, entry, problem) => {
    const found = problems([a, entry], env)

    expect(found).toEqual([expect.stringMatching(problem)])
    expect(found.join()).not.toContain('canary')
  })

  test('is listed together with all the others', () => {
    const found = problems([{ ...a, apiKey: 'x', api: 'x' }, { idleTimeoutMs: 0 }], { PORT: 'x' })

    expect(found.map((problem) => problem.split(' ')[0]).toSorted()).toEqual([
      'PORT',
      'UPSTREAMS[0].api',
      'UPSTREAMS[0].apiKey',
      'UPSTREAMS[1].baseURL',
      'UPSTREAMS[1].idleTimeoutMs',
      'UPSTREAMS[1].name',
    ])
  })

  test.each([
    ['[]', /^UPSTREAMS must be a JSON array with at least one upstream$/],
    ['{"name":"canary"}', /^UPSTREAMS must be a JSON array with at least one upstream$/],
    ['[{"name":"canary",}]', /^UPSTREAMS must be JSON: there is a mistake at line 1, column 19$/],
    [
      '/nowhere/canary.json',
      /^UPSTREAMS must be .* the path of a file that can be read; got neither \(ENOENT\)$/,
    ],
    [tmpdir(), /got neither \(EISDIR\)$/],
    ['"[canary', /got neither \(ENOENT\)$/],
  ])('is named, where the value is %s', (value, problem) => {
    const found = problems(value)

    expect(found).toEqual([expect.stringMatching(problem)])
    expect(found.join()).not.toContain('canary')
  })

  test('in a file is named with its place', () => {
    const path = join(directory, 'bad.json')
    writeFileSync(path, '[\n  { "name": canary }\n]')

    expect(problems(path)).toEqual([
      'The file that UPSTREAMS names must be JSON: there is a mistake at line 2, column 13',
    ])
  })

  test.each([
    [{ OPENAI_MODEL: 'z' }, ['z']],
    [{ MODELS: 'x,z,w' }, ['z', 'w']],
    [{ MODELS: '*' }, ['gpt-4.1-mini']],
  ])('is a model that may be asked for and that nobody serves: %j', (env, names) => {
    const upstreams = [
      { ...a, models: ['x'] },
      { ...b, models: { y: 'z' } },
    ]

    expect(problems(upstreams, env)).toEqual(
      names.map((name) => `UPSTREAMS must have an entry whose models name "${name}", which may be asked for`),
    )
    expect(problems([...upstreams, { ...a, name: 'c' }], env)).toEqual([])
  })
})

describe('an example', () => {
  const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

  test.each([
    ['documentation', /```json\n(\[[^`]*)```/.exec(read('docs/configuration.md'))?.[1]],
    ['.env file', parseEnv(read('.env.example').replace('# UPSTREAMS=', 'UPSTREAMS='))['UPSTREAMS']],
  ])('of the %s can be used as it is', (_, UPSTREAMS) => {
    const { upstreams, model, models } = readOptions({ UPSTREAMS, OPENAI_API_KEY: 'sk-1' })

    expect(upstreams?.map(({ name, apiKey }) => [name, apiKey])).toEqual([
      ['openai', 'sk-1'],
      ['local', undefined],
    ])
    expect({ model, models }).toEqual({ model: 'gpt-4.1-mini', models: ['gpt-4.1-mini'] })
  })
})
