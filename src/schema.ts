import { type OutputUnit, type SchemaDraft, validate } from '@cfworker/json-schema'
import { isObject } from './checks.ts'
import { readJsonSchema } from './json-schema.ts'
import type { Fields } from './types.ts'

/** What a schema of any library looks like: https://standardschema.dev, as far as it is used here. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
    /** There when the library can say its schemas as JSON Schema: https://standardschema.dev/json-schema. */
    readonly jsonSchema?: { readonly input: (options: { readonly target: string }) => Fields } | undefined
  }
}

type StandardResult<Output> =
  { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly StandardIssue[] }

interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** A value as its schema wants it, or one sentence for each thing that is wrong with it. */
export type Checked = { readonly value: unknown } | { readonly problems: readonly string[] }

/** Checks a value. Throws, or rejects, only when a schema of a library does. */
export type SchemaCheck = (value: unknown) => Checked | Promise<Checked>

/** Whether a schema is one of a library; otherwise it is JSON Schema. Some libraries make functions of theirs. */
export function isStandard(schema: unknown): schema is StandardSchema {
  const holds = (typeof schema === 'object' && schema !== null) || typeof schema === 'function'
  return holds && '~standard' in schema && isObject(schema['~standard'])
}

/** Makes the check of a schema. @throws when JSON Schema is broken, with the place. */
export function toCheck(schema: StandardSchema | Fields): SchemaCheck {
  return isStandard(schema) ? (value) => checkStandard(schema, value) : checkOfJson(schema)
}

/**
 * A schema as JSON Schema, for a model: a copy without `$schema`, which some servers refuse. Undefined when it
 * cannot say itself. @throws when it is not JSON, or when its library cannot say all of it.
 */
export function toJsonSchema(schema: StandardSchema | Fields): Fields | undefined {
  const said = isStandard(schema) ? saidByLibrary(schema) : schema
  if (!said) return undefined
  const { $schema: _, ...rest } = copy(said)
  return rest
}

function saidByLibrary({ '~standard': standard }: StandardSchema): Fields | undefined {
  try {
    return standard.jsonSchema?.input({ target: 'draft-2020-12' })
  } catch {
    // Either it does not know this draft, or it fails again and says why.
    return standard.jsonSchema?.input({ target: 'draft-07' })
  }
}

async function checkStandard({ '~standard': standard }: StandardSchema, value: unknown): Promise<Checked> {
  const result = await standard.validate(value)
  if (!result.issues) return { value: result.value }
  const keys = (path: StandardIssue['path'] = []): readonly PropertyKey[] =>
    path.map((part) => (typeof part === 'object' ? part.key : part))
  return { problems: result.issues.map(({ message, path }) => sentence(keys(path), message)) }
}

function checkOfJson(given: Fields): SchemaCheck {
  // A copy, because it is written into.
  const { schema, lookup } = readJsonSchema(copy(given))
  const draft = draftOf(given)
  return (value) => {
    try {
      const { valid, errors } = validate(value, schema, draft, lookup, false)
      if (valid) return { value }
      return { problems: [...new Set(innermost(errors).slice(0, MAX_ERRORS).map(sentenceOf))] }
    } catch (error) {
      // The schema was read whole before, so it is the value that the validator cannot cope with.
      const isKey = error instanceof URIError
      return { problems: [isKey ? 'A key is not valid Unicode.' : 'Too much is wrong, or nested too deep.'] }
    }
  }
}

function draftOf({ $schema }: Fields): SchemaDraft {
  const said = /draft-0([47])|(2019-09)/.exec(typeof $schema === 'string' ? $schema : '')
  return (said?.[1] ?? said?.[2] ?? '2020-12') as SchemaDraft // the pattern finds nothing else
}

/** As many errors are put into sentences: there can be thousands, each with a long path. */
const MAX_ERRORS = 20

/** Words of JSON Schema that only pass on what is wrong further in. */
const outer = new Set(
  `properties patternProperties additionalProperties unevaluatedProperties propertyNames items prefixItems
   additionalItems unevaluatedItems dependentSchemas allOf anyOf oneOf if $ref $recursiveRef`.split(/\s+/),
)

function innermost(errors: readonly OutputUnit[]): readonly OutputUnit[] {
  const inner = errors.filter(({ keyword }) => !outer.has(keyword))
  return inner.length > 0 ? inner : errors
}

function sentenceOf({ instanceLocation, keyword, error }: OutputUnit): string {
  const keys = instanceLocation.split('/').slice(1).map(unescaped)
  return sentence(keys, keyword === 'false' ? 'This field must not be there.' : error)
}

// The location is a JSON pointer (RFC 6901) in the form of a URI fragment.
function unescaped(key: string): string {
  return decodeURIComponent(key).replaceAll('~1', '/').replaceAll('~0', '~')
}

function sentence(path: readonly PropertyKey[], text: string): string {
  const steps = path.map((key) => (/^\d+$/.test(String(key)) ? `[${String(key)}]` : `.${String(key)}`))
  return path.length > 0 ? `\`${steps.join('').replace(/^\./, '')}\`: ${text}` : text
}

function copy(schema: Fields): Record<string, unknown> {
  return JSON.parse(JSON.stringify(schema)) as Record<string, unknown> // it was an object
}
