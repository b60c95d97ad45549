// The reference: hands the model's bytes on without looking at them, with nothing but node:http.
import { Agent, createServer, request as ask } from 'node:http'

const model = new URL(`${process.env.OPENAI_BASE_URL}/chat/completions`)
const agent = new Agent({ keepAlive: true })

const server = createServer((request, response) => {
  const headers = {
    'content-type': 'application/json',
    'content-length': request.headers['content-length'],
    authorization: `Bearer ${process.env.OPENAI_API_KEY}`,
  }
  const upstream = ask(model, { method: 'POST', headers, agent }, (answer) => {
    response.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] })
    answer.pipe(response)
  })
  upstream.on('error', () => response.destroy())
  response.on('close', () => {
    if (!response.writableFinished) upstream.destroy()
  })
  request.pipe(upstream)
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
