import { startSimulator } from './index.ts'

const { PORT, HOST, SEED, TOKENS_PER_SECOND, FIRST_TOKEN_MS, FAULT } = process.env

const simulator = await startSimulator({
  host: HOST || undefined,
  port: number('PORT', PORT),
  seed: number('SEED', SEED),
  tokensPerSecond: number('TOKENS_PER_SECOND', TOKENS_PER_SECOND),
  firstTokenMs: number('FIRST_TOKEN_MS', FIRST_TOKEN_MS),
  fault: FAULT || undefined,
  now: Date.now,
})

console.log(`Simulated OpenAI API (scripted answers, no model) on ${simulator.url}`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void simulator.close())

function number(name: string, text: string | undefined): number | undefined {
  if (!text) return undefined
  const value = Number(text)
  if (value >= 0) return value
  console.error(`${name} must be a number of at least 0 (or Infinity); got ${JSON.stringify(text)}.`)
  process.exit(1)
}
