// A process of its own: a model's server that sends deltas of one character as fast as its connections take them, and
// clients that ask for such answers and read them as fast as they come.
import { createServer, request } from 'node:http'

const event = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'x' } }] })}\n\n`
const block = event.repeat(Math.ceil((64 * 1024) / event.length))

const server = createServer((question, response) => {
  question.resume().on('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const send = () => {
      while (!response.destroyed) if (!response.write(block)) return response.once('drain', send)
    }
    send()
  })
  response.on('error', () => {})
})
server.listen(0, '127.0.0.1', () => process.send(server.address().port))

let bytes = 0
process.on('message', ({ url, streams }) => {
  if (url === undefined) return process.send(bytes)
  for (let i = 0; i < streams; i++) {
    const asking = request(`${url}/chat`, { method: 'POST', headers: { 'content-type': 'application/json' } })
    asking.on('response', (response) => response.on('data', (piece) => (bytes += piece.length)))
    asking.on('error', () => {}).end(JSON.stringify({ model: 'flood', prompt: 'go' }))
  }
})
