import { tellingWords } from './prompt.ts'
import type { Prompt } from './prompt.ts'
import { identifier } from './random.ts'
import type { Random } from './random.ts'
import { isObject } from './request.ts'
import type { ChatBody, Tool } from './request.ts'
import { exampleOf } from './schema.ts'

/** One call of a tool, as the answer contains it. */
export interface ToolCall {
  readonly id: string
  readonly name: string
  /** JSON, as text. */
  readonly arguments: string
}

/**
 * Decides which tools the answer calls: those that `tool_choice` forces, else those whose name or description the
 * prompt mentions. None once the results are there.
 */
export function chooseCalls(chat: ChatBody, prompt: Prompt, random: Random): ToolCall[] {
  const calls = wantedTools(chat, prompt).map((tool) => callTool(tool, prompt, random))
  return chat.raw['parallel_tool_calls'] === false ? calls.slice(0, 1) : calls
}

/** Calls `count` tools whatever the prompt says, invented ones when the request offers too few. */
export function forceCalls(chat: ChatBody, prompt: Prompt, random: Random, count: number): ToolCall[] {
  const tools = [...wantedTools(chat, prompt), ...chat.tools, ...invented]
  const distinct = [...new Map(tools.map((tool) => [tool.name, tool])).values()]
  return distinct.slice(0, count).map((tool) => callTool(tool, prompt, random))
}

const city = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const invented: readonly Tool[] = [
  { name: 'get_weather', description: 'The weather in a city', parameters: city },
  { name: 'get_time', description: 'The local time in a city', parameters: city },
]

function wantedTools({ raw, tools }: ChatBody, prompt: Prompt): readonly Tool[] {
  const choice = raw['tool_choice']
  if (choice === 'none' || prompt.results.length > 0) return []
  const named = isObject(choice) && isObject(choice['function']) ? choice['function']['name'] : undefined
  if (named !== undefined) return tools.filter((tool) => tool.name === named)
  const mentioned = tools.filter((tool) => mentions(prompt.text, tool))
  return choice === 'required' && mentioned.length === 0 ? tools.slice(0, 1) : mentioned
}

function mentions(text: string, { name, description }: Tool): boolean {
  const said = text.toLowerCase()
  if (said.includes(name.toLowerCase())) return true
  const spelled = name.replace(/([a-z])([A-Z])/g, '$1 $2').replace(/[_-]+/g, ' ')
  const words = new Set(tellingWords(text).map((word) => word.toLowerCase()))
  return tellingWords(`${spelled} ${description}`).some((word) => words.has(word.toLowerCase()))
}

function callTool({ name, parameters }: Tool, prompt: Prompt, random: Random): ToolCall {
  const made = exampleOf(parameters, prompt.text)
  return {
    id: `call_${identifier(random, 24)}`,
    name,
    arguments: JSON.stringify(isObject(made) ? made : {}),
  }
}
