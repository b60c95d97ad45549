import { quote } from './prompt.ts'
import type { Prompt, ToolResult } from './prompt.ts'
import { pick } from './random.ts'
import type { Random } from './random.ts'
import { answerInKind, codeSample, manyScripts } from './samples.ts'
import { isObject } from './request.ts'

/** The last sentence of every answer. */
export const closing =
  '*This is a simulated answer. To talk to a real model, set `OPENAI_API_KEY`, or point `OPENAI_BASE_URL` at ' +
  'Ollama, vLLM or another compatible server, and start again.*'

/** Writes the answer to a prompt, in Markdown. The same random numbers give the same answer. */
export function writeAnswer(prompt: Prompt, random: Random): string {
  return [...body(prompt, random), closing].join('\n\n')
}

/** Writes what a model would think before it answers. */
export function writeReasoning(prompt: Prompt, random: Random): string {
  const [first, second] = prompt.words
  return [
    `The user wrote “${quote(prompt.text || 'nothing')}”.`,
    second
      ? `The important parts seem to be “${first}” and “${second}”.`
      : `It seems to be about “${first}”.`,
    pick(random, [
      'I should be brief and say where I am not sure.',
      'I should begin with the result and give the reason after it.',
      'I should check that I understood the question before I answer it.',
    ]),
    'I am only a simulator, so I will say that as well.',
  ].join(' ')
}

function body(prompt: Prompt, random: Random): string[] {
  const { text } = prompt
  const asks = (hint: RegExp): boolean => hint.test(text)
  if (prompt.results.length > 0) return fromResults(prompt.results)
  if (text === '') return ['Your message was empty, so here is an almost empty answer.']
  if (asks(/^\W*(hi|hello|hey|hiya|good (morning|afternoon|evening)|hallo|hola|bonjour|ciao)\b.{0,30}$/i)) {
    return greeting(random, prompt)
  }
  if (asks(/^\W*help\b|what can (you|i) (do|try|ask)/i)) return [`Here is what you can try.`, suggestions]
  if (asks(/\b(short|brief|briefly|one (word|line|sentence)|yes or no|tl;?dr)\b/i))
    return [shortly(prompt, random)]
  if (asks(/\b(story|tale)\b/i)) return story(prompt, random)

  const parts = [opening(prompt, random), ...answerInKind(text)]
  if (asks(/\b(emojis?|unicode|utf-?8|languages|non-?ascii|chinese|japanese|korean|cjk)\b/i))
    parts.push(manyScripts)
  if (asks(/\b(long|essay|detail(s|ed)?|in depth|article|paragraphs)\b/i)) parts.push(...essay(prompt))
  if (asks(/\b(lists?|bullets?|ideas|reasons|ways|tips|examples)\b/i)) parts.push(list(prompt))
  if (asks(/\b(steps?|how (to|do i|can i)|plan|instructions|guide|recipe)\b/i)) parts.push(steps(prompt))
  if (asks(/\b(tables?|compare|comparison|versus|vs\.?|differences?)\b/i)) parts.push(table(prompt))
  if (asks(/\b(code|function|example|snippet|script|program|python|javascript|typescript|sql|bash)\b/i)) {
    parts.push('In code it could look like this:', codeSample(text, prompt.words[0] ?? 'answer'))
  }
  if (parts.length === 1) parts.push(explanation(prompt, random))
  return parts
}

const suggestions = [
  '- **a list** or **steps**: “List three ideas for a rainy day”',
  '- **a table**: “Compare tea and coffee”',
  '- **code**: “Show me a Python function”',
  '- **a long answer**: “Tell me a story about the sea”',
  '- **other scripts**: “Show me some emoji and Chinese”',
  '- **thinking first**: “Think about prime numbers”',
  '- **trouble on purpose**: “fault:cut;after=5”, or “fault:list” for all of them',
].join('\n')

function greeting(random: Random, prompt: Prompt): string[] {
  const hello = pick(random, ['Hello!', 'Hi there!', 'Hello, and welcome!'])
  const again = prompt.earlier.length > 0 ? ' Nice to hear from you again.' : ''
  return [
    `${hello}${again} I am a small simulator that answers while you look around. You could ask for`,
    suggestions,
  ]
}

function opening(prompt: Prompt, random: Random): string {
  const asked = `“${quote(prompt.text)}”`
  const first = pick(random, [
    `You asked ${asked}, and here is how an answer to that arrives, piece by piece.`,
    `Let us look at ${asked} together.`,
    `Good question. You wrote ${asked}, so that is what this answer is about.`,
  ])
  return `${first}${lookingBack(prompt)}${pictures(prompt)}`
}

function lookingBack({ earlier }: Prompt): string {
  const before = earlier.at(-1)
  if (before === undefined) return ''
  const more = earlier.length > 1 ? ` That makes ${earlier.length + 1} questions so far.` : ''
  return ` Before this you wrote “${quote(before, 60)}”, and I have kept that in mind.${more}`
}

function pictures({ images }: Prompt): string {
  if (images === 0) return ''
  return images === 1
    ? ' I see you sent a picture; I cannot look at it.'
    : ` I cannot look at your ${images} pictures.`
}

function shortly({ words }: Prompt, random: Random): string {
  const [word] = words
  return pick(random, [
    `In short: yes, **${word}**.`,
    `Briefly: it depends on **${word}**.`,
    `One word: **${word}**.`,
  ])
}

function explanation({ words }: Prompt, random: Random): string {
  const [first = 'this', second] = words
  const both = second ? `**${first}** and **${second}**` : `**${first}**`
  return pick(random, [
    `It comes down to ${both}. Start with what you already know, change one thing at a time, and look at what ` +
      `happens. Most surprises come from the step that seemed too small to check.`,
    `The interesting part is ${both}. There is usually a simple case that shows the idea, a common case that needs ` +
      `a little care, and a rare one that is worth knowing about before it happens.`,
    `When people talk about ${both}, they often mean different things by it. It helps to say which one you mean, ` +
      `give an example, and only then ask what follows from it.`,
  ])
}

function list({ words }: Prompt): string {
  const [first = 'this', second = 'the details', third = 'the rest'] = words
  return [
    `- **${capital(first)}** is the place to begin: it is what you asked about first.`,
    `- **${capital(second)}** comes next, since the two belong together.`,
    `- **${capital(third)}** is easy to forget, so it gets a line of its own.`,
    '  - A small example says more than a rule.',
  ].join('\n')
}

function steps({ words }: Prompt): string {
  const [first = 'this', second = 'the result'] = words
  return [
    `1. Write down what you want from **${first}**, in one sentence.`,
    '2. Do the smallest part that could work.',
    `3. Look at **${second}** and compare it with your sentence.`,
    '4. Keep what helped and repeat.',
  ].join('\n')
}

function table({ text, words }: Prompt): string {
  const pair =
    /(?:compare|between)?\s*([\p{L}\p{N}.+#-]+)\s+(?:and|with|to|or|versus|vs\.?)\s+([\p{L}\p{N}.+#-]+)/iu.exec(
      text,
    )
  const left = capital(pair?.[1] ?? words[0] ?? 'One')
  const right = capital(pair?.[2] ?? words[1] ?? 'The other')
  return [
    `| | ${left} | ${right} |`,
    '|---|---|---|',
    '| Good for | getting started | going further |',
    '| Takes | minutes | an afternoon |',
    '| Watch out for | doing too little | doing too much |',
  ].join('\n')
}

function essay({ words }: Prompt): string[] {
  const [first = 'this', second = 'its surroundings', third = 'time'] = words
  return [
    `## Where it starts`,
    `Nobody meets **${first}** in a textbook first. We meet it in the middle of something else, notice that it does ` +
      `not behave as we thought, and begin to ask. That first question is usually a little wrong, and that is fine: ` +
      `a wrong question that can be answered is worth more than a perfect one that cannot.`,
    `## What it is made of`,
    `Looked at closely, ${first} is a few simple parts and the order in which they meet. Take the parts one by one ` +
      `and there is little to explain. Put **${second}** beside them and the picture changes, because now each part ` +
      `has to wait for another, and waiting is where most of the interesting things happen.`,
    `There is a second point, less often made. The parts are not equally old. Some were chosen with care, others ` +
      `were simply there, and it is the second kind that lasts longest. Whoever wants to change something does well ` +
      `to find out which kind it is.`,
    `## What follows`,
    `With ${third} in view, three habits help: say what you expect before you look, keep the example that ` +
      `surprised you, and leave the place a little clearer than you found it. None of them is clever. Together they ` +
      `are most of what people later call experience.`,
  ]
}

function story(prompt: Prompt, random: Random): string[] {
  const [word = 'something'] = prompt.words
  const name = pick(random, ['Ada', 'Mira', 'Jonas', 'Teo'])
  return [
    `**${name} and the slow answer**`,
    `In a town at the edge of the map there was a telegraph office, and in it worked ${name}, to whom no message ` +
      `had ever come in one piece. Messages came word by word, sometimes letter by letter, and between two of them ` +
      `there was time for tea.`,
    `One evening the machine clicked and wrote a single word: *${word}*. Then it was quiet. ${name} looked at the ` +
      `word for a long time. It could be the beginning of good news, or the end of something. The kettle sang.`,
    `Near midnight a second word came, and a third. The lamp had burned low by then, but the sentence was growing, ` +
      `and ${name} read it aloud to the empty room so that it would not feel forgotten on the way.`,
    `Then the line went dead. Somewhere between the hills a branch had fallen on the wire. Another clerk would have ` +
      `gone home. ${name} wrote down the number of the last word received and waited, and when the wire was mended ` +
      `at dawn, sent one short question: *after this, what?*`,
    `And the message went on, exactly where it had stopped: nothing missing, nothing said twice. It was about ` +
      `*${word}* after all, and it was worth the wait.`,
  ]
}

function fromResults(results: readonly ToolResult[]): string[] {
  const intro = results.length === 1 ? 'The tool has answered.' : `${results.length} tools have answered.`
  return [intro, ...results.map(({ name, text }) => `**${name}** says: ${inWords(text)}`)]
}

function inWords(text: string): string {
  try {
    const value: unknown = JSON.parse(text)
    if (!isObject(value)) return quote(text, 300)
    const members = Object.entries(value).map(([key, member]) => {
      return `${key} is ${typeof member === 'string' ? member : JSON.stringify(member)}`
    })
    return `${quote(members.join(', '), 300)}.`
  } catch {
    // Not JSON: tools may answer in plain words.
    return quote(text, 300)
  }
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1)
}
