import { isObject } from './request.ts'
import type { Json } from './request.ts'
import { tellingWords } from './prompt.ts'

/** Makes a value that fits a JSON schema, with words and numbers from the prompt where they plausibly belong. */
export function exampleOf(schema: Json, prompt: string): unknown {
  return example(schema, { root: schema, prompt, name: '', depth: 0 })
}

interface Place {
  readonly root: Json
  readonly prompt: string
  readonly name: string
  readonly depth: number
}

function example(schema: Json, place: Place): unknown {
  if ('const' in schema) return schema['const']
  const choices = schema['enum']
  if (Array.isArray(choices)) {
    const prompt = place.prompt.toLowerCase()
    return choices.find((choice) => prompt.includes(String(choice).toLowerCase())) ?? choices[0]
  }
  if ('default' in schema) return schema['default']
  const deeper = { ...place, depth: place.depth + 1 }
  // A schema may refer to itself; somewhere it has to stop.
  if (place.depth > 6) return null
  const referred = follow(schema, place.root)
  if (referred) return example(referred, deeper)
  for (const word of ['anyOf', 'oneOf']) {
    const options = schema[word]
    if (!Array.isArray(options)) continue
    const option = options.filter(isObject).find((each) => each['type'] !== 'null')
    if (option) return example(option, deeper)
  }
  if (Array.isArray(schema['allOf'])) {
    return Object.assign({}, ...schema['allOf'].filter(isObject).map((each) => example(each, deeper)))
  }
  switch (typeOf(schema)) {
    case 'object':
      return exampleObject(schema, deeper)
    case 'array':
      return isObject(schema['items']) ? [example(schema['items'], deeper)] : []
    case 'integer':
      return Math.round(exampleNumber(schema, place))
    case 'number':
      return exampleNumber(schema, place)
    case 'boolean':
      return true
    case 'null':
      return null
    default:
      return exampleText(schema, place)
  }
}

function typeOf(schema: Json): unknown {
  const types = [schema['type']].flat().filter((type) => type !== 'null' && type !== undefined)
  return types[0] ?? (schema['properties'] ? 'object' : schema['type'])
}

function follow(schema: Json, root: Json): Json | undefined {
  const path = schema['$ref']
  if (typeof path !== 'string' || !path.startsWith('#')) return undefined
  let found: unknown = root
  for (const key of path.split('/').slice(1)) found = isObject(found) ? found[key] : undefined
  return isObject(found) ? found : undefined
}

function exampleObject(schema: Json, place: Place): Json {
  const properties = isObject(schema['properties']) ? schema['properties'] : {}
  const required = Array.isArray(schema['required']) ? schema['required'] : Object.keys(properties)
  const members = Object.entries(properties).filter(([name]) => required.includes(name))
  return Object.fromEntries(
    members.map(([name, member]) => [name, example(isObject(member) ? member : {}, { ...place, name })]),
  )
}

function exampleNumber(schema: Json, { prompt }: Place): number {
  const said = /-?\d+(?:\.\d+)?/.exec(prompt)
  const low = typeof schema['minimum'] === 'number' ? schema['minimum'] : -Infinity
  const high = typeof schema['maximum'] === 'number' ? schema['maximum'] : Infinity
  return Math.min(Math.max(said ? Number(said[0]) : 1, low), high)
}

function exampleText(schema: Json, { prompt, name }: Place): string {
  switch (schema['format']) {
    case 'date':
      return '2026-01-01'
    case 'date-time':
      return '2026-01-01T12:00:00Z'
    case 'time':
      return '12:00:00Z'
    case 'email':
      return 'someone@example.com'
    case 'uri':
      return 'https://example.com/'
    case 'uuid':
      return '00000000-0000-4000-8000-000000000001'
  }
  if (/zone/i.test(name)) return /\b\p{Lu}[\p{L}_]+(?:\/\p{Lu}[\p{L}_-]+)+/u.exec(prompt)?.[0] ?? 'UTC'
  if (/date|day/i.test(name)) return '2026-01-01'
  if (/city|location|place|country|town|address/i.test(name)) {
    const place = /\b(?:in|for|at|near|to)\s+(\p{Lu}[\p{L}-]+(?:\s\p{Lu}[\p{L}-]+)*)/u.exec(prompt)
    return place?.[1] ?? 'Paris'
  }
  if (/query|question|search|text|prompt|message|input/i.test(name) && prompt !== '') return prompt
  return tellingWords(prompt).at(-1) ?? 'example'
}
