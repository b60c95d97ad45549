const scripts: readonly (readonly [RegExp, string])[] = [
  [/[\p{sc=Hiragana}\p{sc=Katakana}]/u, 'こんにちは。これは模擬の回答です。少しずつ届きます。'],
  [/\p{sc=Hangul}/u, '안녕하세요. 이것은 모의 답변이며 조금씩 도착합니다.'],
  [/\p{sc=Han}/u, '你好!这是一个模拟的回答,一小段一小段地到达。'],
  [/\p{sc=Cyrillic}/u, 'Здравствуйте! Это пробный ответ, он приходит по частям.'],
  [/\p{sc=Greek}/u, 'Γεια σας! Αυτή είναι μια δοκιμαστική απάντηση.'],
  [/\p{sc=Arabic}/u, 'مرحبًا! هذه إجابة تجريبية تصل شيئًا فشيئًا.'],
  [/\p{sc=Hebrew}/u, 'שלום! זו תשובה לדוגמה שמגיעה בחלקים.'],
  [/\p{sc=Devanagari}/u, 'नमस्ते! यह एक नमूना उत्तर है।'],
  [/\p{sc=Thai}/u, 'สวัสดี! นี่คือคำตอบจำลอง'],
  [/\p{Extended_Pictographic}/u, 'And a few of mine: 👋🏽 🌊 👩‍🚀 🇯🇵 ❤️'],
]

/** A line in many scripts, for whoever wants to see text beyond ASCII arrive whole. */
export const manyScripts = 'Grüße, café, 你好, こんにちは, 안녕하세요, Привет, مرحبا, नमस्ते — 👋🏽 👩‍🚀 🇯🇵 𝒜 𠮷'

/** Finds sentences in the scripts that a text uses beyond Latin; none for plain English. */
export function answerInKind(text: string): string[] {
  const found = scripts.filter(([script]) => script.test(text)).map(([, sentence]) => sentence)
  // Japanese is written with Han characters too: two greetings for one line would be odd.
  return found.filter((sentence) => !(sentence.startsWith('你好') && /\p{sc=Hiragana}/u.test(text)))
}

/** A code sample in the language a prompt asks for (JavaScript when it names none). */
export function codeSample(text: string, word: string): string {
  const name =
    word
      .normalize('NFKD')
      .replace(/[^A-Za-z]/g, '')
      .toLowerCase() || 'answer'
  if (/\bpython\b/i.test(text)) {
    return fence('python', [
      `def ${name}(items):`,
      '    """Join the pieces as they arrive."""',
      '    text = ""',
      '    for item in items:',
      '        text += item',
      '        print(item, end="", flush=True)',
      '    return text',
    ])
  }
  if (/\bsql\b/i.test(text)) {
    return fence('sql', [`select id, ${name}`, 'from answers', 'where finished', 'order by created_at desc;'])
  }
  if (/\b(bash|shell|curl|command line)\b/i.test(text)) {
    return fence('sh', [
      '# Watch an answer arrive, event by event.',
      `curl -N -G http://127.0.0.1:3000/stream --data-urlencode 'prompt=${name}'`,
    ])
  }
  const typed = /\btypescript\b/i.test(text)
  return fence(typed ? 'ts' : 'js', [
    '// Collects the pieces of an answer while they arrive.',
    `async function ${name}(pieces${typed ? ': AsyncIterable<string>' : ''}) {`,
    "  let text = ''",
    '  for await (const piece of pieces) text += piece',
    '  return text',
    '}',
  ])
}

function fence(language: string, lines: readonly string[]): string {
  return ['```' + language, ...lines, '```'].join('\n')
}
