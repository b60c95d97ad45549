import { useChat } from '@ai-sdk/react'
import { useState } from 'react'
import { createRoot } from 'react-dom/client'

function Chat() {
  const { id, messages, sendMessage, status, error } = useChat() // asks POST /api/chat
  const [draft, setDraft] = useState('')
  const busy = status === 'submitted' || status === 'streaming'

  async function send(event) {
    event.preventDefault()
    setDraft('')
    await sendMessage({ text: draft })
  }

  // The hook's own stop() closes the connection; this one ends the answer.
  const stop = () => fetch(`/api/chat/${id}/stop`, { method: 'POST' })

  return (
    <form onSubmit={send}>
      {messages.map(({ id, role, parts }) => (
        <p key={id} className={role}>
          {parts.map((part) => (part.type === 'text' ? part.text : ''))}
        </p>
      ))}
      {error && <p role="alert">{error.message}</p>}
      <input aria-label="Message" value={draft} onChange={(event) => setDraft(event.target.value)} />
      {busy ? (
        <button type="button" onClick={stop}>
          Stop
        </button>
      ) : (
        <button>Send</button>
      )}
    </form>
  )
}

createRoot(document.getElementById('chat')).render(<Chat />)
