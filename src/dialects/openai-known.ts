import { numberFrom } from '../checks.ts'
import { isAddress } from '../images.ts'
import {
  address,
  fields,
  flag,
  label,
  list,
  mapOf,
  number,
  object,
  oneOf,
  rule,
  type Rules,
  source,
  textOr,
  whole,
  words,
} from './openai-rules.ts'

const cacheControl = fields({ type: oneOf('ephemeral'), ttl: oneOf('5m', '1h') })
const breakpoint = fields({ mode: oneOf('explicit'), ttl: oneOf('30m', '12h') })
const textPart = fields({ type: oneOf('text'), text: words() })
const moderationMode = fields({ mode: oneOf('score', 'block') })

/**
 * Fields that pass to the upstream after a check: those of OpenAI's API reference, "Create chat completion", that this
 * service does not handle itself. What would cost more, keep the conversation, or fetch from elsewhere is refused.
 */
const documented: Rules = {
  store: rule((value) =>
    value === false ? undefined : 'false (conversations are not kept in the account of this service)',
  ),
  service_tier: rule((value) =>
    value === 'auto' || value === 'default' || value === 'flex'
      ? undefined
      : 'one of "auto", "default", "flex" (the other tiers cost more)',
  ),
  // Some servers notify addresses that they find here.
  metadata: mapOf((value) => {
    if (typeof value !== 'string' || value.length > 512) return 'a string of at most 512 characters'
    return isAddress(value) ? 'a string that is no address' : undefined
  }, 16),
  logit_bias: mapOf(numberFrom(-100, 100), 1024),
  user: label(512),
  safety_identifier: label(512),
  prompt_cache_key: label(512),
  prompt_cache_retention: oneOf('in_memory', 'in-memory', '24h'),
  prompt_cache_options: fields({ mode: oneOf('implicit', 'explicit'), ttl: oneOf('30m') }),
  verbosity: oneOf('low', 'medium', 'high'),
  prediction: fields({ type: oneOf('content'), content: textOr(words(), list(textPart)) }),
  moderation: fields({
    model: rule((value) =>
      typeof value === 'string' && /^(?:omni|text)-moderation-[\w.-]{1,40}$/.test(value)
        ? undefined
        : 'a moderation model such as "omni-moderation-latest"',
    ),
    policy: fields({ input: moderationMode, output: moderationMode }),
  }),
}

/** The name of a field, its check, and who documents or sends it. */
type VendorField = readonly [rule: Rules[string], from: string]

/** Fields of vendors that real clients send. None of them costs more tokens than the request may have. */
export const vendorFields: Readonly<Record<string, VendorField>> = {
  // Sampling.
  top_k: [whole(-1, 1_000_000), 'OpenRouter, vLLM, llama.cpp, Qwen; Continue, Open WebUI'],
  min_p: [number(0, 1), 'OpenRouter, vLLM, llama.cpp; Open WebUI'],
  top_a: [number(0, 1), 'OpenRouter'],
  typ_p: [number(0, 1), 'llama.cpp; its web UI'],
  typical_p: [number(0, 1), 'llama.cpp, TGI'],
  tfs_z: [number(0, 100), 'Ollama; Open WebUI'],
  repetition_penalty: [number(0, 10), 'OpenRouter, vLLM, Qwen'],
  repeat_penalty: [number(0, 10), 'llama.cpp; its web UI, Open WebUI'],
  repeat_last_n: [whole(-1, 1_000_000), 'llama.cpp; its web UI, Open WebUI'],
  mirostat: [whole(0, 2), 'llama.cpp; Open WebUI'],
  mirostat_eta: [number(0, 100), 'llama.cpp; Open WebUI'],
  mirostat_tau: [number(0, 100), 'llama.cpp; Open WebUI'],
  dynatemp_range: [number(0, 10), 'llama.cpp; its web UI'],
  dynatemp_exponent: [number(0, 100), 'llama.cpp; its web UI'],
  xtc_probability: [number(0, 1), 'llama.cpp; its web UI'],
  xtc_threshold: [number(0, 1), 'llama.cpp; its web UI'],
  dry_multiplier: [number(0, 100), 'llama.cpp; its web UI'],
  dry_base: [number(0, 100), 'llama.cpp; its web UI'],
  dry_allowed_length: [whole(0, 1_000_000), 'llama.cpp; its web UI'],
  dry_penalty_last_n: [whole(-1, 1_000_000), 'llama.cpp; its web UI'],
  do_sample: [flag, 'Zhipu'],
  random_seed: [whole(0), 'Mistral; LangChain'],
  safe_prompt: [flag, 'Mistral; LangChain'],
  // Reasoning.
  reasoning: [
    fields({
      effort: label(32),
      summary: oneOf('auto', 'concise', 'detailed'),
      max_tokens: whole(0),
      exclude: flag,
      enabled: flag,
    }),
    'OpenRouter; Cline, Roo Code, LibreChat',
  ],
  include_reasoning: [flag, 'OpenRouter, Groq; Roo Code'],
  reasoning_format: [
    oneOf('none', 'auto', 'deepseek', 'deepseek-legacy', 'parsed', 'raw', 'hidden'),
    'llama.cpp, Groq; the web UI of llama.cpp',
  ],
  reasoning_split: [flag, 'MiniMax; Roo Code'],
  prompt_mode: [oneOf('reasoning'), 'Mistral'],
  thinking: [
    fields({
      type: oneOf('enabled', 'disabled', 'auto', 'adaptive'),
      budget_tokens: whole(0),
      clear_thinking: flag,
    }),
    'DeepSeek, Zhipu, Kimi, Doubao, LiteLLM; Roo Code',
  ],
  think: [textOr(oneOf('low', 'medium', 'high'), flag), 'Ollama; Open WebUI'],
  enable_thinking: [flag, 'Qwen, SiliconFlow; Cline'],
  preserve_thinking: [flag, 'Qwen'],
  thinking_budget: [whole(0), 'Qwen, SiliconFlow; Cline'],
  chat_template_kwargs: [
    fields({ enable_thinking: flag, thinking: flag, preserve_thinking: flag, reasoning_effort: label(32) }),
    'vLLM, SGLang, llama.cpp: the switches of Qwen, DeepSeek, GLM and gpt-oss',
  ],
  // What the answer reports, and what is cached.
  usage: [fields({ include: flag }), 'OpenRouter; Cline, Roo Code'],
  transforms: [list(oneOf('middle-out'), 1), 'OpenRouter; Continue, Roo Code'],
  timings_per_token: [flag, 'llama.cpp; its web UI'],
  return_progress: [flag, 'llama.cpp; its web UI'],
  cache_prompt: [flag, 'llama.cpp'],
  tool_stream: [flag, 'Zhipu; Roo Code'],
  cache_control: [cacheControl, 'OpenRouter, for Claude'],
}

/** The fields of a request that pass after a check, by name. */
export const passedFields: Rules = {
  ...documented,
  ...Object.fromEntries(Object.entries(vendorFields).map(([name, [check]]) => [name, check])),
}

const citation = fields({
  url: words(),
  title: words(),
  content: words(),
  start_index: whole(0),
  end_index: whole(0),
})

/**
 * Fields of a message beside those that this service handles: OpenAI's, and what answers are made of that clients send
 * back (OpenRouter, DeepSeek, LiteLLM, this service). No server fetches an address that the words in them name.
 */
export const messageFields: Rules = {
  name: words(512),
  refusal: words(),
  audio: fields({ id: label(200) }),
  annotations: list(
    fields({ type: words(64), url_citation: citation, file: fields({ hash: words(), name: words() }) }),
  ),
  reasoning: words(),
  reasoning_content: words(),
  reasoning_details: list(
    fields({
      type: words(64),
      id: words(),
      format: words(64),
      index: whole(0),
      text: words(),
      summary: words(),
      data: words(),
      signature: words(),
    }),
  ),
  thinking_blocks: list(
    fields({
      type: words(64),
      thinking: words(),
      signature: words(),
      data: words(),
      cache_control: cacheControl,
    }),
  ),
  // The answer goes on with this message: DeepSeek and Mistral, Kimi and Qwen.
  prefix: flag,
  partial: flag,
  cache_control: cacheControl,
}

/** Fields of every part of a message's content: OpenAI's, and the mark that OpenRouter and LiteLLM hand to Claude. */
const marks: Rules = { cache_control: cacheControl, prompt_cache_breakpoint: breakpoint }

/** The parts of a message's content, by type. Images have further checks. */
export const contentParts: Readonly<Record<string, Rules>> = {
  text: { text: words(), ...marks },
  // `format` is LiteLLM's.
  image_url: {
    image_url: textOr(address, fields({ url: address, detail: label(32), format: label(64) })),
    ...marks,
  },
  input_audio: { input_audio: fields({ data: source, format: label(32) }), ...marks },
  file: { file: fields({ file_data: source, file_id: label(200), filename: words(512) }), ...marks },
  refusal: { refusal: words(), ...marks },
  // OpenRouter, Zhipu, Qwen, vLLM.
  video_url: { video_url: textOr(address, fields({ url: address })), ...marks },
  // Mistral.
  thinking: { thinking: list(textPart), closed: flag, ...marks },
}

/** Fields of a tool, and of its function, beside those that this service handles. */
export const toolFields: Rules = { cache_control: cacheControl }

/** Fields of a call beside those that this service handles: what Gemini wants back. */
export const callFields: Rules = { extra_content: object }
