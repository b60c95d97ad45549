import { isObject } from '../checks.ts'
import { ChatError } from '../errors.ts'
import { isAddress, requirePublicUrls } from '../images.ts'

/** Keywords that lead to another schema. A server that follows them would fetch what they name. */
const references = new Set(['$ref', '$dynamicRef', '$recursiveRef'])

/** Keywords whose values are named schemas: their keys are names of the author's own. */
const maps = new Set(
  'properties patternProperties dependentSchemas dependencies $defs definitions'.split(' '),
)

/** Keywords whose values are words or examples, of any shape. */
const words = new Set(
  `title description $comment pattern format type required dependentRequired contentEncoding contentMediaType
   default const enum examples example enumDescriptions markdownDescription errorMessage`.split(/\s+/),
)

type Hosts = readonly string[] | '*'

/**
 * Requires that a JSON Schema has all its parts in itself: references begin with `#`, at any depth and wherever a
 * careless reader might follow one, in examples too. `$schema` may name the meta-schemas of json-schema.org.
 *
 * @throws `ChatError` `invalid-request` with the path of the reference, or of an address.
 */
export function requireLocalSchema(schema: unknown, at: string, hosts: Hosts): void {
  if (Array.isArray(schema)) {
    for (const [index, inner] of schema.entries()) requireLocalSchema(inner, `${at}[${index}]`, hosts)
  } else if (isObject(schema)) {
    for (const [keyword, value] of Object.entries(schema)) {
      const place = below(at, keyword)
      requireLocal(keyword, value, place)
      if (words.has(keyword)) requireLocalReferences(value, place)
      else if (maps.has(keyword) && isObject(value)) requireLocalParts(value, place, hosts)
      else if (typeof value === 'string') requirePlain(keyword, value, place, hosts)
      else requireLocalSchema(value, place, hosts)
    }
  } else if (typeof schema === 'string') requirePublicUrls(schema, at, hosts)
}

function requireLocalParts(parts: Record<string, unknown>, at: string, hosts: Hosts): void {
  for (const [name, part] of Object.entries(parts)) {
    requireLocal(name, part, below(at, name))
    requireLocalSchema(part, below(at, name), hosts)
  }
}

function requireLocalReferences(value: unknown, at: string): void {
  if (Array.isArray(value)) {
    for (const [index, inner] of value.entries()) requireLocalReferences(inner, `${at}[${index}]`)
  } else if (isObject(value)) {
    for (const [name, inner] of Object.entries(value)) {
      requireLocal(name, inner, below(at, name))
      requireLocalReferences(inner, below(at, name))
    }
  }
}

function requireLocal(keyword: string, value: unknown, at: string): void {
  if (!references.has(keyword) || typeof value !== 'string' || value.startsWith('#')) return
  throw refusal(at, 'must lead to a part of the same schema, and so begin with #.')
}

/** Metaschemas, which validators have in themselves. */
const metaschema = /^https?:\/\/json-schema\.org\/(?:schema|draft-0\d\/schema|draft\/20\d\d-\d\d\/schema)#?$/

function requirePlain(keyword: string, value: string, at: string, hosts: Hosts): void {
  if (keyword === '$schema') {
    if (!metaschema.test(value))
      throw refusal(at, 'must be a meta-schema of json-schema.org, or be left out.')
  } else if (keyword === '$id' || keyword === 'id' || keyword === '$vocabulary') {
    // With such a base some readers would look for `#/…` there.
    if (isAddress(value) || value.startsWith('//'))
      throw refusal(at, 'must be a name and no address. Leave it out.')
  } else if (!references.has(keyword)) requirePublicUrls(value, at, hosts, keyword)
}

function refusal(at: string, text: string): ChatError {
  const param = at.slice(0, 200)
  return new ChatError('invalid-request', `\`${param}\` ${text}`, { param })
}

function below(at: string, key: string): string {
  return `${at}.${key.slice(0, 40)}`
}
