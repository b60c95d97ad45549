import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

interface Module {
  readonly path: string
  readonly folder: string
  /** Files of ours as paths from the root, anything else as it is written. */
  readonly imports: readonly string[]
}

const statement = /^(?:import|export)\b[^'";]*?\bfrom\s+'([^']+)'|^import\s+'([^']+)'/gm
const dynamic = /\bimport\(\s*'([^']+)'/g

function read(path: string): Module {
  const source = readFileSync(join(root, path), 'utf8')
  const specifiers = [...source.matchAll(statement), ...source.matchAll(dynamic)].map(
    ([, from, bare]) => from ?? bare ?? '',
  )
  const imports = specifiers.map((name) => {
    return name.startsWith('.') ? posix.join(posix.dirname(path), name) : name
  })
  return { path, folder: path.split('/')[0] ?? '', imports }
}

function modulesIn(folder: string): Module[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
    .map((name) => read(posix.join(folder, name.replaceAll('\\', '/'))))
}

const folders = ['src', 'adapters', 'handlers', 'simulator', 'client', 'web', 'test']
const modules = folders.flatMap(modulesIn)

/** Every import of these folders that is not allowed, as `file → import`. */
function breaches(from: readonly string[], allowed: (name: string, module: Module) => boolean): string[] {
  return modules
    .filter(({ folder }) => from.includes(folder))
    .flatMap((module) => {
      return module.imports.filter((name) => !allowed(name, module)).map((name) => `${module.path} → ${name}`)
    })
}

function isIn(name: string, ...folders: string[]): boolean {
  return folders.some((folder) => name.startsWith(`${folder}/`))
}

test('imports are found at all', () => {
  expect(modules.length).toBeGreaterThan(60)
  expect(read('src/chat.ts').imports).toEqual([
    'src/batches.ts',
    'src/errors.ts',
    'src/report.ts',
    'src/tools.ts',
    'src/turn.ts',
    'src/types.ts',
  ])
  expect(read('handlers/server.ts').imports).toContain('simulator/index.ts')
  expect(read('handlers/app.ts').imports).toContain('express')
})

/** Adapters that are Node's alone. */
const ofNode = ['adapters/node.ts', 'adapters/node-body.ts', 'adapters/proxy.ts']

describe('imports go in one direction', () => {
  const pure = ['@cfworker/json-schema', 'eventsource-parser', 'openai']

  test('the core knows itself and a few pure packages: no Node, no framework, no cloud', () => {
    expect(breaches(['src'], (name) => isIn(name, 'src') || pure.includes(name))).toEqual([])
  })

  test('adapters know the core and each other, and no platform but the one that asks over node:http', () => {
    const platform = (name: string): boolean => /^node:|proxy/.test(name)
    expect(
      breaches(
        ['adapters'],
        (name, { path }) => isIn(name, 'src', 'adapters') || (ofNode.includes(path) && platform(name)),
      ),
    ).toEqual([])
  })

  /** Imports of types leave nothing in what is built. */
  const typesOnly = (name: string, { path }: Module): boolean => {
    const source = readFileSync(join(root, path), 'utf8')
    const file = posix.relative(posix.dirname(path), name)
    return new RegExp(`^(?:import|export) type [^'";]*from '${file}'`, 'm').test(source)
  }

  test('the client knows itself, the parser of events, and of the core its types', () => {
    const core = ['src/types.ts']
    expect(
      breaches(
        ['client'],
        (name, module) =>
          isIn(name, 'client') ||
          name === 'eventsource-parser' ||
          (core.includes(name) && typesOnly(name, module)),
      ),
    ).toEqual([])
  })

  test('the page knows itself, the client, and of the core its types', () => {
    const known = (name: string): boolean => isIn(name, 'web') || name === 'client/index.ts'
    const core = ['src/types.ts']
    expect(
      breaches(['web'], (name, module) => known(name) || (core.includes(name) && typesOnly(name, module))),
    ).toEqual([])
  })

  test('the simulator stands alone', () => {
    expect(breaches(['simulator'], (name) => isIn(name, 'simulator') || name.startsWith('node:'))).toEqual([])
  })

  test('only handlers and tests know handlers and the simulator', () => {
    const inner = ['src', 'adapters', 'client', 'web']
    expect(breaches(inner, (name) => !isIn(name, 'handlers', 'simulator', 'test', 'bench'))).toEqual([])
    expect(breaches(['simulator'], (name) => !isIn(name, 'handlers', 'test', 'bench'))).toEqual([])
    expect(breaches(['handlers'], (name) => !isIn(name, 'test', 'bench', 'web'))).toEqual([])
  })

  test('the streaming function loads neither Express, nor its wrapper, nor the simulator', () => {
    const reached = new Set<string>()
    const follow = (path: string): void => {
      if (reached.has(path)) return
      reached.add(path)
      modules.find((module) => module.path === path)?.imports.forEach(follow)
    }
    follow('handlers/lambda.ts')

    expect(reached).toContain('src/upstreams/openai.ts')
    const unwanted = [...reached].filter((name) => /^(?:express|serverless-http)$|^simulator\//.test(name))
    expect(unwanted).toEqual([])
  })
})

describe('a package has one place', () => {
  test.each([
    ['openai', 'src/upstreams/openai.ts'],
    ['express', 'handlers/app.ts'],
    ['serverless-http', 'handlers/api.ts'],
    ['@redis/client', 'handlers/redis.ts'],
  ])('%s is used in %s only', (name, path) => {
    const users = modules.filter(({ folder, imports }) => folder !== 'test' && imports.includes(name))
    expect(users.map((module) => module.path)).toEqual([path])
  })

  test('no module of ours is imported in a circle', () => {
    const circles: string[] = []
    const done = new Set<string>()
    const visit = (path: string, trail: readonly string[]): void => {
      if (trail.includes(path))
        return void circles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
      if (done.has(path)) return
      for (const name of modules.find((module) => module.path === path)?.imports ?? [])
        visit(name, [...trail, path])
      done.add(path)
    }
    for (const { path, folder } of modules) if (folder !== 'test') visit(path, [])

    expect(circles).toEqual([])
  })
})

test('the core reads no environment, and nobody but the composition roots does, proxies aside', () => {
  const readers = modules
    .filter(({ folder, path }) => folder !== 'test' && !ofNode.includes(path))
    .filter(({ path }) =>
      /\bprocess\.\w|\bBuffer\.|\b__dirname\b/.test(readFileSync(join(root, path), 'utf8')),
    )
    .map(({ folder }) => folder)

  expect(readers.filter((folder) => !['handlers', 'simulator'].includes(folder))).toEqual([])
})
