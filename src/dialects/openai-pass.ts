import { ChatError } from '../errors.ts'
import { requirePublicUrls } from '../images.ts'
import { folded, isRefused } from './openai-refused.ts'

/** Fields of a request that this service sets or checks itself, so that none of them passes unseen. */
export const understoodFields = [
  'model',
  'messages',
  'stream',
  'stream_options',
  'n',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
  'stop',
  'seed',
  'presence_penalty',
  'frequency_penalty',
  'reasoning_effort',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'response_format',
  'logprobs',
  'top_logprobs',
  'modalities',
] as const

const understood = new Set(understoodFields.map(folded))
/** The same within messages and tools. */
const understoodWithin = new Set(
  ['role', 'content', 'tool_calls', 'tool_call_id', 'function_call', 'type', 'function'].map(folded),
)

/** Says why a field cannot pass, after its setting's name; undefined when it can. */
export function passFieldProblem(path: string): string | undefined {
  const [first = '', ...rest] = path.split('.')
  if (!/^[\w-]{1,64}(?:\.[\w-]{1,64}){0,5}$/.test(path) || path.includes('__proto__')) {
    return 'must list names of request fields such as min_tokens, or paths such as messages.id'
  }
  const own = rest.length === 0 ? understood.has(folded(first)) || isRefused(first) : isOwn(rest)
  return own ? 'must not list a field that the service sets, checks or refuses itself' : undefined
}

function isOwn(steps: readonly string[]): boolean {
  return understoodWithin.has(folded(steps.at(-1) ?? ''))
}

/** Reads the option of this name. @throws `ChatError` `invalid-request` that names a field that cannot pass. */
export function passFieldsOf(paths: readonly string[] = []): ReadonlySet<string> {
  for (const path of paths) {
    const problem = passFieldProblem(path)
    if (!problem) continue
    throw new ChatError('invalid-request', `\`passFields\` ${problem}; got ${JSON.stringify(path)}.`)
  }
  return new Set(paths)
}

/** @throws `ChatError` for a field at `path` that is not among those that pass, or names an address that it must not. */
export function requirePassed(
  path: string,
  value: unknown,
  { pass, hosts }: { readonly pass: ReadonlySet<string>; readonly hosts: readonly string[] | '*' },
): void {
  const field = path.replace(/\[\d+\]/g, '')
  const param = path.slice(0, 80)
  if (!pass.has(field)) {
    const fix = `Leave it out, or let the operator add ${field.slice(0, 80)} to PASS_FIELDS.`
    throw new ChatError(
      'invalid-request',
      `\`${param}\` is not a field that this service passes on. ${fix}`,
      {
        param,
      },
    )
  }
  requirePublicUrls(value, path, hosts, path.slice(path.lastIndexOf('.') + 1))
}
