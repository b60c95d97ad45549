// What the core uses of the `openai` package, for its purity check alone (tsconfig.src.json): the package's own
// declarations bring all of Node's types with them. The whole tree is checked against the real ones.
export default OpenAI
declare class OpenAI {
  constructor(options: object)
  readonly baseURL: string
  readonly apiKey: string | null
  post(
    path: string,
    options: {
      readonly body: object
      readonly headers?: object
      readonly signal: AbortSignal
      readonly stream: true
    },
  ): { asResponse(): Promise<Response> }
  static readonly APIError: typeof APIError
  static readonly APIConnectionError: typeof APIConnectionError
}
declare class APIError extends Error {
  readonly status: number | undefined
  readonly headers: Headers | undefined
  readonly error: object | undefined
  readonly code: string | null | undefined
  readonly param: string | null | undefined
}
declare class APIConnectionError extends APIError {}
