import { chat } from 'deltarelay/client'

const url = `${process.env.BASE_URL ?? 'http://127.0.0.1:3000'}/chat`
const reply = chat({ url, messages: [{ role: 'user', content: 'Hello' }] })
for await (const delta of reply) {
  if (delta.type === 'text') process.stdout.write(delta.text)
  if (delta.type === 'error') throw new Error(delta.message)
}

// Whoever has the id gets the same: after a reload, in another tab, while it is being written or later.
let count = 0
for await (const delta of chat.resume(reply.id, { url })) count += delta.type === 'text'
console.log(`\n${count} pieces`)
