import fc from 'fast-check'

/** What has broken writers and readers of event streams: ends of lines, halves of characters, fields and frames. */
const nasty = [
  '\r',
  '\n',
  '\r\n\r\n',
  '\0',
  '\u0085',
  '\u2028',
  '\u2029',
  '\ud83d',
  '\udc00',
  '\ufeff',
  '\n\ndata: x\n\n',
  'data: x',
  'id: 9\r',
  ': c',
  '"}',
] as const

/** Texts with everything that a stream of events could stumble over, the empty one too. */
export const anyWords: fc.Arbitrary<string> = fc
  .array(fc.oneof(fc.string({ unit: 'binary', maxLength: 16 }), fc.constantFrom(...nasty)), { maxLength: 8 })
  .map((words) => words.join(''))
