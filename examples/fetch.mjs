import { EventSourceParserStream } from 'eventsource-parser/stream'

const response = await fetch(`${process.env.BASE_URL ?? 'http://127.0.0.1:3000'}/chat`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ messages: [{ role: 'user', content: 'Hello' }] }),
})
if (!response.ok) throw new Error((await response.json()).error.message)

let finished = false
const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
for await (const { data } of events) {
  const delta = JSON.parse(data)
  if (delta.type === 'text') process.stdout.write(delta.text)
  if (delta.type === 'error') throw new Error(delta.message)
  if (delta.type === 'finish') finished = true
}
if (!finished) throw new Error('The connection broke: this is not the whole answer.')
