/** Shapes of secrets that must never be shown, whether they are ours or not. */
const shapes: readonly RegExp[] = [
  // Keys with the prefixes of well-known services, masked ones too.
  /\b(?:(?:sk|pk|rk|key|gsk|xai|hf|r8|nvapi|pplx|csk|fw|ghp|gho|github_pat|glpat|xox[abprs])[-_]|AIza|AKIA|ASIA|eyJ)[\w*.-]{4,}/,
  /\b(?:bearer|authorization|set-cookie|cookie)\b\W+\S/i,
  /\bbasic [\w+/=]{8,}/i,
  /\b\w*(?:api.?key|access.?key|account.?key|secret|passw(?:or)?d|pwd|passphrase|credential|private.?key|connection.?string)\w*\b/i,
  /\btoken["']?\s*[=:]/i,
  // A connection string, an address with credentials, an e-mail address, an address inside a network.
  /\b(?!https?:)[a-z][a-z\d+.-]*:\/\//i,
  /\S@\S/,
  /\b\d{1,3}(?:\.\d{1,3}){3}\b/,
  // The query of an address can hold a signature.
  /https?:\/\/\S*[?]/i,
  /-----BEGIN/,
]

/** A run of characters as keys, hashes and base64 have them. */
const run = /[\w+/=-]{20,}/g

/** Whether a text may hold a secret, going by what it looks like. */
export function maySecretBeIn(text: string): boolean {
  return shapes.some((shape) => shape.test(text)) || (text.match(run) ?? []).some(looksRandom)
}

// Letters of both cases and digits, or nothing but hexadecimal digits. A field's name or a model's has neither.
function looksRandom(text: string): boolean {
  return (/[a-z]/.test(text) && /[A-Z]/.test(text) && /\d/.test(text)) || /[\da-f]{20}|[\dA-F]{20}/.test(text)
}

/** Shorter ones would be found in any sentence. */
const MIN_SECRET = 6
/** A part of a secret that is this long gives enough of it away. */
const WINDOW = 8
/** Longer ones are looked for by their beginning. */
const MAX_SECRET = 1000

/**
 * Creates a search for secrets: whole ones, the values in them (`Bearer x`, `a=x; b=y`) and parts of at least 8
 * characters, as they are or encoded as base64, base64url, hexadecimal, a URL or JSON, in letters of either case.
 */
export function createSecretSearch(secrets: Iterable<string>): (text: string) => boolean {
  const needles = new Set<string>()
  for (const secret of secrets) {
    for (const value of [secret, ...secret.split(/[\s,;:=&"']+/)]) {
      if (value.length < MIN_SECRET) continue
      for (const form of formsOf(value.slice(0, MAX_SECRET)))
        for (const part of windowsOf(form, WINDOW)) needles.add(part)
    }
  }
  return (text) => {
    for (const form of readingsOf(text)) for (const needle of needles) if (form.includes(needle)) return true
    return false
  }
}

/** A text in the ways it may have to be read: as it is, without its spaces and breaks, and decoded. */
function readingsOf(text: string): ReadonlySet<string> {
  const decoded = [text, percentDecoded(text), jsonDecoded(text), htmlDecoded(text)]
  return new Set(
    decoded.flatMap((each) => {
      const folded = each.toLowerCase()
      return [folded, folded.replace(/\s+/g, ''), folded.replace(/[\s\\:.-]+/g, '')]
    }),
  )
}

/** A secret in its encodings, in lower case. Base64 depends on how many bytes stand before it: all three are made. */
function formsOf(value: string): readonly string[] {
  const bytes = new TextEncoder().encode(value)
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  const base64 = [0, 1, 2].map((before) => base64After(before, bytes))
  const forms = [value, hex, ...base64, ...base64.map(toUrlSafe), value.replace(/[\s\\:.-]+/g, '')]
  return forms.map((form) => form.toLowerCase()).filter((form) => form.length >= MIN_SECRET)
}

/** The characters of base64 that depend on `bytes` alone, when `before` other bytes stand in front. */
function base64After(before: number, bytes: Uint8Array): string {
  const whole = btoa(String.fromCharCode(...new Uint8Array(before), ...bytes)).replace(/=+$/, '')
  const first = Math.ceil((before * 4) / 3)
  const isCut = (before + bytes.length) % 3 !== 0
  return whole.slice(first, isCut ? -1 : undefined)
}

function toUrlSafe(base64: string): string {
  return base64.replaceAll('+', '-').replaceAll('/', '_')
}

function windowsOf(form: string, size: number): readonly string[] {
  if (form.length <= size) return [form]
  return Array.from({ length: form.length - size + 1 }, (_, at) => form.slice(at, at + size))
}

function percentDecoded(text: string): string {
  return text.replace(/%([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
}

function jsonDecoded(text: string): string {
  return text
    .replace(/\\u([\da-f]{4})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .replace(/\\x([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .replace(/\\(.)/g, '$1')
}

function htmlDecoded(text: string): string {
  const named: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
  return text
    .replace(/&#x([\da-f]{1,4});/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .replace(/&#(\d{1,5});/g, (_, digits: string) => String.fromCharCode(Number(digits)))
    .replace(/&(amp|lt|gt|quot|apos);/g, (_, name: string) => named[name] ?? '')
}

/** So many characters in a row are a quotation. */
const QUOTATION = 24

/** Whether a text repeats a part of another, whatever the letters' case and the space between them. */
export function quotes(text: string, source: string): boolean {
  const [ours, theirs] = [text, source].map((each) => each.toLowerCase().replace(/[\s"'\\]+/g, ' ')) as [
    string,
    string,
  ]
  return windowsOf(ours, QUOTATION).some((part) => part.length === QUOTATION && theirs.includes(part))
}
