import fc from 'fast-check'
import { expect } from 'vitest'
import { type Ask, type ChatDelta, isTerminal, type ReplyState, type StreamStore } from '../src/types.ts'
import { all, soon } from './src/kit.ts'

/** Two ways to the same replies: through the instance that produces them, and through another one. */
export interface Ways {
  readonly here: StreamStore
  readonly there: StreamStore
  /** What happens to the next commands of the producer, if anything does. */
  meddle?(fates: readonly number[]): void
  /** The producer's process is gone for good. Absent: it cannot be lost alone. */
  lose?(): void
  close(): Promise<void>
}

/** What should be true. */
interface Model {
  readonly produced: ChatDelta[]
  /** Somebody has asked for the end. */
  over: boolean
  lost: boolean
  readonly names: Map<string, string>
}

/** Somebody who reads, leaves and comes back, and keeps what it has. */
interface Person {
  readonly seen: ChatDelta[]
  readonly from: number
  /** Whether where it is produced. */
  here: boolean
  leaving: AbortController
  reading: Promise<void>
  failure: unknown
}

interface Real {
  readonly ways: Ways
  readonly id: string
  readonly people: Person[]
  /** What `append` said to those who wrote an end. */
  readonly ends: { readonly mine: ChatDelta; readonly said: Promise<ChatDelta | undefined> }[]
  readonly states: ReplyState[]
}

type Command = fc.AsyncCommand<Model, Real>

const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 1 }
const stopped: ChatDelta = { type: 'finish', reason: 'cancelled' }
const endings: readonly ChatDelta[] = [
  { type: 'finish', reason: 'stop' },
  { type: 'error', code: 'internal', message: 'Oh.', retryable: false },
  stopped,
]

function command(name: string, check: (model: Model) => boolean, run: Command['run']): Command {
  return { check, run, toString: () => name }
}

function storeAt({ ways }: Real, at: boolean): StreamStore {
  return at ? ways.here : ways.there
}

async function write(real: Real, deltas: readonly ChatDelta[]): Promise<ChatDelta | undefined> {
  return real.ways.here.append(real.id, deltas)
}

function end(model: Model, real: Real, mine: ChatDelta): void {
  model.over = true
  real.ends.push({ mine, said: write(real, [mine]) })
}

function read(real: Real, person: Person, at: boolean): void {
  person.here = at
  person.leaving = new AbortController()
  const { signal } = person.leaving
  async function follow(): Promise<void> {
    try {
      const after = person.from + person.seen.length
      for await (const batch of storeAt(real, at).read(real.id, { after, signal })) {
        expect(batch.length).toBeGreaterThan(0)
        person.seen.push(...batch)
      }
    } catch (error) {
      person.failure = error
    }
  }
  person.reading = follow()
}

const running = (model: Model): boolean => !model.over

const append = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.boolean()).map(([count, single]) =>
  command(`append(${count}${single ? ', one by one' : ''})`, running, async (model, real) => {
    const from = model.produced.length
    const deltas = Array.from({ length: count }, (_, i): ChatDelta => ({ type: 'text', text: `${from + i}` }))
    model.produced.push(...deltas)
    for (const group of single ? deltas.map((delta) => [delta]) : [deltas]) await write(real, group)
  }),
)

const come = fc.tuple(fc.nat(1000), fc.boolean()).map(([part, at]) =>
  command(
    `come(${part}, ${at ? 'here' : 'there'})`,
    ({ lost }) => !(lost && at),
    async (model, real) => {
      const from = Math.floor((part / 1001) * model.produced.length)
      const leaving = new AbortController()
      const person: Person = {
        seen: [],
        from,
        here: at,
        leaving,
        reading: Promise.resolve(),
        failure: undefined,
      }
      real.people.push(person)
      read(real, person, at)
    },
  ),
)

const hop = fc.tuple(fc.nat(), fc.boolean()).map(([which, at]) =>
  command(
    `hop(${which}, ${at ? 'here' : 'there'})`,
    ({ lost }) => !(lost && at),
    async (_, real) => {
      const person = real.people[which % Math.max(1, real.people.length)]
      if (!person) return
      person.leaving.abort()
      await soon(person.reading)
      if (person.seen.some(isTerminal) || person.failure) return
      read(real, person, at)
    },
  ),
)

const seal = fc
  .constantFrom(...endings)
  .map((ending) =>
    command(`seal(${JSON.stringify(ending)})`, running, async (model, real) => end(model, real, ending)),
  )

const ask = fc.boolean().map((at) =>
  command(
    `stop(${at ? 'here' : 'there'})`,
    ({ lost }) => !(lost && at),
    async (model, real) => {
      const state = await soon(storeAt(real, at).ask(real.id, 'stop'))
      model.over = true
      expect(state).toMatchObject({ sealed: true })
      real.states.push(state!)
    },
  ),
)

const look = fc.boolean().map((at) =>
  command(
    `state(${at ? 'here' : 'there'})`,
    ({ lost }) => !(lost && at),
    async (_, real) => {
      const state = await storeAt(real, at).state(real.id)
      expect(state).toMatchObject({ owner: 'me' })
      expect(state!.sealed).toBe(state!.terminal !== undefined)
      if (state!.sealed) real.states.push(state!)
    },
  ),
)

const claim = fc.tuple(fc.constantFrom('a', 'b'), fc.nat(2), fc.boolean(), fc.boolean()).map((drawn) => {
  const [name, who, replace, at] = drawn
  return command(
    `claim(${drawn.join(', ')})`,
    ({ lost }) => !(lost && at),
    async ({ names, lost }, real) => {
      const own = `${real.id}-${who}`
      const before = names.get(name)
      const said = await storeAt(real, at).claim(`${name} of ${real.id}`, { id: own }, { replace })
      // A link that sends a replacement twice hears the second time that there was nothing else before.
      const unheard = replace && said === undefined && real.ways.meddle !== undefined
      if (!unheard) expect(said?.id).toBe(before === own ? undefined : before)
      if (replace || before === undefined) names.set(name, own)
      expect((await storeAt(real, !at && !lost).find(`${name} of ${real.id}`))?.id).toBe(names.get(name))
    },
  )
})

const release = fc.tuple(fc.constantFrom('a', 'b'), fc.nat(2)).map(([name, who]) =>
  command(
    `release(${name}, ${who})`,
    () => true,
    async ({ names }, real) => {
      await real.ways.there.release(`${name} of ${real.id}`, `${real.id}-${who}`)
      if (names.get(name) === `${real.id}-${who}`) names.delete(name)
      expect((await real.ways.there.find(`${name} of ${real.id}`))?.id).toBe(names.get(name))
    },
  ),
)

/** Some of each; or long enough of nothing that a stop from elsewhere is done without the producer. */
const fates = fc.oneof(fc.array(fc.nat(3), { minLength: 1, maxLength: 8 }), fc.constant([2, 2, 2, 2, 2, 2]))

const meddle = fates.map((fates) =>
  command(`meddle(${fates.join('')})`, running, async (_, real) => real.ways.meddle?.(fates)),
)

const lose = fc.constant(
  command('lose', running, async (model, real) => {
    if (!real.ways.lose) return
    real.ways.lose()
    model.over = true
    model.lost = true
  }),
)

/** At the end everybody is told the same, and it is true. */
async function judge(model: Model, real: Real): Promise<void> {
  if (!model.over) end(model, real, endings[0]!)
  const truth = (await soon(all(real.ways.there.read(real.id, { after: 0, signal: never })), 10_000)).flat()
  const terminal = truth.at(-1)!
  const words = truth.slice(0, -1)

  // One end, and a prefix of what was produced before it.
  expect(isTerminal(terminal)).toBe(true)
  expect(words).toEqual(model.produced.slice(0, words.length))
  for (const state of real.states) expect(state).toMatchObject({ length: truth.length, terminal })

  if (!model.lost) await judgeEnds(model, real, truth)
  for (const person of real.people) await judgeReader(model, person, truth)
}

/** Whoever wrote an end was told which one stands; where it is its own, everything before it is kept. */
async function judgeEnds({ produced }: Model, real: Real, truth: readonly ChatDelta[]): Promise<void> {
  for (const [index, { mine, said }] of real.ends.entries()) {
    const stands = await soon(said)
    expect(stands ?? mine).toEqual(truth.at(-1))
    if (index === 0 && !stands) expect(truth).toEqual([...produced, mine])
  }
  expect(await write(real, [{ type: 'text', text: 'late' }])).toEqual(truth.at(-1))
}

/** A reader where it is produced may be ahead of the log: then it has what was produced, and learns of its loss. */
async function judgeReader(
  { produced, lost }: Model,
  person: Person,
  truth: readonly ChatDelta[],
): Promise<void> {
  const gone = person.leaving.signal.aborted || (lost && person.here)
  if (!gone && person.from + person.seen.length < truth.length) await soon(person.reading, 10_000)
  else person.leaving.abort()
  const words = person.seen.filter((delta) => !isTerminal(delta))
  expect(person.seen.filter(isTerminal).length).toBeLessThanOrEqual(1)
  expect(words).toEqual(produced.slice(person.from, person.from + words.length))
  const ahead = person.from + words.length > truth.length - 1
  if (person.failure) expect(person.failure).toMatchObject({ code: 'gone' })
  if (person.failure) expect(ahead).toBe(true)
  if (!ahead && !gone) expect(person.seen).toEqual(truth.slice(person.from))
  if (person.seen.some(isTerminal)) expect(person.seen.at(-1)).toEqual(truth.at(-1))
}

const { signal: never } = new AbortController()

/** Lets many users of a store do anything in any order, and looks whether what it promises holds. */
export async function checkModel(
  open: () => Promise<Ways>,
  { numRuns, prefix }: { readonly numRuns: number; readonly prefix: string },
): Promise<void> {
  let run = 0
  const commands = fc.commands(
    [
      append,
      append,
      come,
      come,
      hop,
      hop,
      look,
      claim,
      release,
      meddle,
      seal,
      ask,
      lose,
    ] as fc.Arbitrary<Command>[],
    { maxCommands: 30, size: 'max' },
  )
  await fc.assert(
    fc.asyncProperty(commands, async (drawn) => {
      const ways = await open()
      const id = `${prefix}-${run++}`
      const model: Model = { produced: [start], over: false, lost: false, names: new Map() }
      const real: Real = { ways, id, people: [], ends: [], states: [] }
      try {
        const onAsk = (asked: Ask): void => {
          if (asked === 'stop' && !model.over) end(model, real, stopped)
        }
        await ways.here.create(id, { owner: 'me', start, onAsk })
        for (const who of [0, 1, 2]) await ways.here.create(`${id}-${who}`)
        await write(real, [start])
        await fc.asyncModelRun(async () => ({ model, real }), drawn)
        await judge(model, real)
      } finally {
        for (const { leaving } of real.people) leaving.abort()
        await ways.close()
      }
    }),
    { numRuns, endOnFailure: true },
  )
}
