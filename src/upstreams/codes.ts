/**
 * The codes and types of errors that may reach a client: any other word of an upstream is left out, because it can be
 * anything. Each list names its source.
 */
const knownCodes: ReadonlySet<string> = new Set([
  // OpenAI, "Error codes" and "The Responses API, ResponseError" (the package `openai`, resources/responses).
  'array_above_max_length', 'array_below_min_length', 'bio_policy', 'billing_hard_limit_reached', 'content_filter',
  'content_policy_violation', 'context_length_exceeded', 'data_residency_mismatch', 'decimal_above_max_value',
  'decimal_below_min_value', 'empty_array', 'empty_image_file', 'empty_string', 'failed_to_download_image',
  'image_content_policy_violation', 'image_file_not_found', 'image_file_too_large', 'image_parse_error',
  'image_too_large', 'image_too_small', 'insufficient_quota', 'integer_above_max_value', 'integer_below_min_value',
  'invalid_base64_image', 'invalid_function_parameters', 'invalid_image', 'invalid_image_format',
  'invalid_image_mode', 'invalid_image_url', 'invalid_json_schema', 'invalid_prompt', 'invalid_request_error',
  'invalid_type', 'invalid_value', 'misalignment_policy_violation', 'missing_required_parameter',
  'model_not_found', 'object_above_max_properties', 'rate_limit_error', 'rate_limit_exceeded', 'server_error',
  'slow_down', 'string_above_max_length', 'string_below_min_length', 'unknown_parameter',
  'unsupported_country_region_territory', 'unsupported_image_media_type', 'unsupported_parameter',
  'unsupported_value', 'vector_store_timeout',
  // Azure OpenAI, "REST API reference" and "Content filtering"; the recorded refusals.
  'BadRequest', 'DeploymentNotFound', 'InternalServerError', 'NotFound', 'RateLimitReached',
  'ResponsibleAIPolicyViolation', 'TooManyRequests',
  // Anthropic, "Errors". Its OpenAI-compatible API has the same types.
  'api_error', 'billing_error', 'not_found_error', 'overloaded_error', 'request_too_large', 'timeout_error',
  // Google, google.rpc.Code.
  'ABORTED', 'ALREADY_EXISTS', 'CANCELLED', 'DATA_LOSS', 'DEADLINE_EXCEEDED', 'FAILED_PRECONDITION', 'INTERNAL',
  'INVALID_ARGUMENT', 'NOT_FOUND', 'OUT_OF_RANGE', 'RESOURCE_EXHAUSTED', 'UNAVAILABLE', 'UNIMPLEMENTED', 'UNKNOWN',
  // Amazon Bedrock, "InvokeModelWithResponseStream".
  'InternalServerException', 'ModelErrorException', 'ModelNotReadyException', 'ModelStreamErrorException',
  'ModelTimeoutException', 'ResourceNotFoundException', 'ServiceQuotaExceededException',
  'ServiceUnavailableException', 'ThrottlingException', 'ValidationException',
  // Databricks, "Error codes"; Alibaba DashScope, "Error codes".
  'BAD_REQUEST', 'REQUEST_LIMIT_EXCEEDED', 'InvalidParameter', 'Throttling', 'data_inspection_failed',
  // Groq, "API error codes" and the refusals of its tools and its JSON mode.
  'json_validate_failed', 'model_decommissioned', 'model_terms_required', 'over_capacity', 'tool_use_failed',
  // vLLM, LiteLLM, llama.cpp and servers that follow them.
  'BadRequestError', 'ContentPolicyViolationError', 'ContextWindowExceededError', 'NotFoundError', 'RateLimitError',
  'ServiceUnavailableError', 'exceed_context_size_error', 'invalid_model', 'unavailable_error', 'unknown_model',
]) // prettier-ignore

/** Whether a word is a known code or type of an error. */
export function isKnownCode(word: string): boolean {
  return knownCodes.has(word)
}

interface Cause {
  /** Codes that name it. */
  readonly codes: RegExp
  /** Sentences of servers that have no code for it. */
  readonly words?: RegExp
  /** The code that clients know it by, where the server has none. */
  readonly code?: string
  /** The field of a request that it is about. */
  readonly param?: string
  /** What a client is told of it. */
  readonly text: string
}

/** What upstreams refuse most often, in our own words. */
const causes: readonly Cause[] = [
  {
    codes: /^(?:context_length_exceeded|exceed_context_size_error|ContextWindowExceededError)$/,
    words:
      /\b(?:maximum|max) (?:context|input|prompt) (?:length|size)|\bcontext (?:length|window|size) (?:is |was |limit |has been )*(?:exceeded|of)|\bexceeds? .{0,60}\bcontext|\b(?:prompt|input|conversation|request) is too long/i,
    code: 'context_length_exceeded',
    param: 'messages',
    text: "The conversation is longer than the model's context. Send fewer or shorter messages, or ask for fewer tokens.",
  },
  {
    codes:
      /^(?:model_not_found|unknown_model|invalid_model|model_decommissioned|model_terms_required|DeploymentNotFound)$/,
    words: /\b(?:invalid|unknown|not a valid) model\b|\bmodel\b.{0,80}(?:not exist|not found)/i,
    code: 'model_not_found',
    param: 'model',
    text: 'It does not have this model, or this service may not use it.',
  },
  {
    codes:
      /^(?:content_filter|\w*content_policy_violation|ContentPolicyViolationError|ResponsibleAIPolicyViolation|data_inspection_failed|invalid_prompt|bio_policy|misalignment_policy_violation)$/,
    text: 'Its content filter does not accept the conversation.',
  },
  {
    codes: /image/,
    text: 'It could not use an image of the request.',
  },
  {
    codes: /^(?:unsupported_parameter|unsupported_value|unknown_parameter)$/,
    text: 'The model does not support one of the fields of the request, or its value.',
  },
  { codes: /^tool_use_failed$/, text: 'The model made a call that does not fit its tool.' },
  { codes: /^json_validate_failed$/, text: 'The answer of the model did not fit `response_format`.' },
]

/** What a refusal with this code, or else with these words, is about; undefined where that is not known. */
export function causeOf(code: string | undefined, words = ''): Cause | undefined {
  const byCode = code === undefined ? undefined : causes.find(({ codes }) => codes.test(code))
  return byCode ?? causes.find((cause) => cause.words?.test(words))
}
