import { type Tool, ToolError } from '../src/tools.ts'

/** What the model may call in this deployment, one line each: `TOOLS` chooses among them. */
export const tools: readonly Tool[] = [createGetTime(Date.now)]

/** The time somewhere. `now` gives milliseconds since 1970. */
export function createGetTime(now: () => number): Tool {
  return {
    name: 'get_time',
    description: 'Tells the current date and local time in a time zone.',
    schema: {
      type: 'object',
      properties: {
        timeZone: { type: 'string', description: 'An IANA name such as Europe/Paris, or UTC.' },
      },
      required: ['timeZone'],
      additionalProperties: false,
    },
    execute: ({ timeZone }: { readonly timeZone: string }) => localTime(timeZone, now()),
  }
}

function localTime(timeZone: string, at: number): Readonly<Record<string, string>> {
  const parts = formatFor(timeZone).formatToParts(at)
  const part = (type: string): string => parts.find((each) => each.type === type)?.value ?? ''
  return {
    timeZone,
    weekday: part('weekday'),
    date: `${part('year')}-${part('month')}-${part('day')}`,
    time: `${part('hour')}:${part('minute')}:${part('second')}`,
    // Hosts differ in whether nought hours are worth saying.
    offset: part('timeZoneName').replace(/^GMT$/, 'GMT+00:00'),
  }
}

function formatFor(timeZone: string): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'long',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
      hourCycle: 'h23',
      timeZoneName: 'longOffset',
    })
  } catch (cause) {
    const got = JSON.stringify(timeZone.slice(0, 60))
    throw new ToolError(`There is no time zone ${got}. Use an IANA name such as "Europe/Paris".`, { cause })
  }
}
