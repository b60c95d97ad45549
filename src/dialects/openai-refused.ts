import { ChatError } from '../errors.ts'

/**
 * Fields that are no mistake elsewhere, but would be one here, with what to do instead: other names of a limit that
 * this service holds, other ways to choose a model, a server or what that fetches, and what its answers cannot be. Taken from OpenAI's
 * API reference, OpenRouter, LiteLLM, vLLM, llama.cpp, Ollama and TGI.
 */
const refusals: readonly (readonly [fix: string, names: string])[] = [
  [
    'Use `max_tokens`.',
    'max_output_tokens max_new_tokens max_gen_len max_length max_tokens_to_sample num_predict n_predict',
  ],
  ['Ask once for each answer.', 'best_of num_completions num_return_sequences candidate_count'],
  ['Use `tools` and `tool_choice`.', 'functions function_call'],
  ['Answers are text.', 'audio'],
  [
    'Every request brings its whole conversation in `messages`.',
    'input prompt conversation previous_response_id background',
  ],
  [
    'A request asks one model: name it in `model`.',
    'models model_list fallbacks context_window_fallbacks content_policy_fallbacks route preset engine deployment_id ' +
      'provider_options plugins draft_model backend lora lora_path lora_request',
  ],
  [
    'Which server is asked, and with which key, is set on this service.',
    'api_key api_base base_url api_version api_type azure_endpoint aws_bedrock_runtime_endpoint ' +
      'custom_llm_provider provider user_config',
  ],
  [
    "What the model's server may fetch from elsewhere is set on this service.",
    'mcp_servers data_sources kv_transfer_params',
  ],
  ['Send images as `image_url` parts of a message.', 'image_data images'],
  ['Headers and queries are set on this service.', 'headers extra_headers extra_query'],
  ['Put its fields into the body itself.', 'extra_body litellm_params options parameters generation_config'],
]

const fixes = new Map(
  refusals.flatMap(([fix, names]) => names.split(' ').map((name) => [folded(name), fix] as const)),
)

/**
 * A field's name as the most generous server would read it: in any case (Go's JSON takes `Model`, and even the Kelvin
 * sign, for what it folds to), with or without underscores.
 */
export function folded(name: string): string {
  return name.toUpperCase().toLowerCase().replace(/[_-]/g, '')
}

/** The names of understood fields by how they could be written as well. */
export function spellings(names: Iterable<string>): ReadonlyMap<string, string> {
  return new Map(Array.from(names, (name) => [folded(name), name]))
}

/** Whether a field of this name is never taken, however it is written. */
export function isRefused(name: string): boolean {
  return fixes.has(folded(name))
}

/** @throws `ChatError` for a field that would get around what this service understands, with what to do instead. */
export function requirePassable(name: string, known: ReadonlyMap<string, string>, at = ''): void {
  const key = folded(name)
  const meant = known.get(key)
  const fix = meant === undefined ? at === '' && fixes.get(key) : instead(name, meant)
  if (!fix) return
  const param = `${at}${name}`.slice(0, 80)
  throw new ChatError('invalid-request', `\`${param}\` cannot be used here. ${fix}`, { param })
}

function instead(name: string, meant: string): string {
  return name === meant ? 'It belongs to messages of another role.' : `Use \`${meant}\`.`
}
