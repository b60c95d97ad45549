import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import { requireImageUrl, requirePublicUrls } from '../../src/images.ts'

const at = 'messages[0].content[1].image_url.url'

/** What is said against an address; undefined when there is nothing. */
function against(url: unknown, hosts: readonly string[] | '*' = '*'): string | undefined {
  try {
    requireImageUrl(url, at, hosts)
  } catch (error) {
    if (!(error instanceof ChatError) || error.param !== at) throw error
    return error.message
  }
}

describe('images inside the request', () => {
  test.each([
    'data:image/png;base64,iVBORw0KGgo=',
    'data:image/jpeg;base64,/9j/4AAQ',
    'data:image/jpg;base64,/9j/4AAQ',
    'data:image/gif;base64,R0lGODlh',
    'data:image/webp;base64,UklGRg==',
    'DATA:image/PNG;BASE64,iVBORw0KGgo=',
  ])('%s is an image, whatever hosts are allowed', (url) => {
    expect(requireImageUrl(url, at, [])).toBe(url)
    expect(requireImageUrl(url, at, '*')).toBe(url)
  })

  test.each([
    'data:image/svg+xml;base64,PHN2Zz4=',
    'data:text/html;base64,PGgxPg==',
    'data:image/png,abc',
    'data:image/png;base64,',
    'data:image/png;base64,a b',
    'data:image/png;charset=x;base64,aaaa',
    'data:,',
    ' data:image/png;base64,aaaa',
  ])('%j is refused, with the form that it must have', (url) => {
    expect(against(url)).toContain('data:image/png;base64,')
  })

  test('an image of many megabytes is looked through without trouble', () => {
    const large = `data:image/png;base64,${'A'.repeat(32 * 1024 * 1024)}`

    expect(against(large)).toBeUndefined()
    expect(against(`${large}!`)).toContain('base64')
  })
})

describe('images on other hosts', () => {
  test.each([
    ['https://images.example/cat.png', 'https://images.example/cat.png'],
    [
      'https://images.example:8443/cat.png?size=2&sig=a%2Fb',
      'https://images.example:8443/cat.png?size=2&sig=a%2Fb',
    ],
    ['HTTPS://Images.Example/Cat.png', 'https://images.example/Cat.png'],
    ['https://xn--bcher-kva.example/', 'https://xn--bcher-kva.example/'],
    ['https://bücher.example/', 'https://xn--bcher-kva.example/'],
    ['https://a.b.c.xn--p1ai/x', 'https://a.b.c.xn--p1ai/x'],
    ['https://images.example./cat.png', 'https://images.example./cat.png'],
    // As every standard client reads it: nobody after us reads another host.
    ['https:\\\\images.example\\cat.png', 'https://images.example/cat.png'],
    ['https://images.example\\@169.254.169.254/', 'https://images.example/@169.254.169.254/'],
  ])('%s is a public place', (url, understood) => {
    expect(requireImageUrl(url, at, '*')).toBe(understood)
  })

  test.each([
    'http://images.example/cat.png',
    'file:///etc/passwd',
    'file://images.example/cat.png',
    'ftp://images.example/cat.png',
    'gopher://images.example/',
    's3://bucket/cat.png',
    'javascript:alert(1)',
    'blob:https://images.example/1',
    '//images.example/cat.png',
    '/cat.png',
    'images.example/cat.png',
    '',
    'https://',
    'https://[',
    'https://a b.example/',
  ])('%j is no https address', (url) => {
    expect(against(url)).toMatch(/must be an https URL, or a data URL/)
  })

  test.each([
    // Addresses instead of names, in every notation.
    'https://127.0.0.1/',
    'https://10.0.0.1/',
    'https://169.254.169.254/latest/meta-data/',
    'https://8.8.8.8/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0x7f.0.0.1/',
    'https://0177.0.0.1/',
    'https://127.1/',
    'https://0/',
    'https://127.0.0.1./',
    'https://１２７.０.０.１/',
    'https://①②⑦.0.0.1/',
    'https://%31%32%37.0.0.1/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[0:0:0:0:0:ffff:7f00:1]/',
    'https://[fd00::1]/',
    'https://[fe80::1]/',
    'https://[64:ff9b::7f00:1]/',
    // Names of one machine or one network.
    'https://localhost/',
    'https://LOCALHOST/',
    'https://localhost./',
    'https://loc%61lhost/',
    'https://app.localhost/',
    'https://printer.local/',
    'https://printer.local./',
    'https://metadata.google.internal/computeMetadata/v1/',
    'https://router.home.arpa/',
    'https://router.lan/',
    'https://wiki.corp/',
    'https://wiki.intranet/',
    'https://kubernetes.default.svc/',
    'https://kubernetes.default/',
    'https://dns.kube-system/',
    'https://db.cluster/',
    'https://machine.localdomain6/',
    'https://kubernetes.default.svc.cluster.local/',
    'https://db.test/',
    'https://metadata/',
    'https://images/',
    'https://.example/',
    'https://images..example/',
    'https://host.123abc/',
  ])('%s is not public', (url) => {
    expect(against(url)).toMatch(
      /images may not come from\. Add .+ \(IMAGE_HOSTS\), or send the image as a data URL/,
    )
  })

  test.each(['https://user@images.example/', 'https://:pass@images.example/', 'https://a:b@127.0.0.1/'])(
    '%s holds a name or a password',
    (url) => {
      expect(against(url)).toContain('must not hold a user name or a password')
    },
  )

  test('a list of hosts allows those hosts alone, by their whole name', () => {
    const hosts = ['images.example', 'CDN.example:8443', '10.0.0.5']

    expect(against('https://images.example/a', hosts)).toBeUndefined()
    expect(against('https://images.example./a', hosts)).toBeUndefined()
    expect(against('https://cdn.example:8443/a', hosts)).toBeUndefined()
    expect(against('https://10.0.0.5/a', hosts)).toBeUndefined()
    for (const other of [
      'a.images.example',
      'images.example.com',
      'images.example:444',
      'cdn.example',
      '10.0.0.6',
    ]) {
      expect(against(`https://${other}/a`, hosts)).toContain(`Add ${other} to the allowed image hosts`)
    }
    expect(against('https://images.example/a', [])).toContain('Add images.example')
  })

  test('a refusal repeats neither the path nor the query nor the password', () => {
    for (const url of [
      'https://localhost/canary?key=canary#canary',
      'http://images.example/canary?canary',
      'https://canary:canary@images.example/canary',
      'data:text/canary;base64,canary',
    ]) {
      expect(against(url)).not.toContain('canary')
    }
  })

  test.each([undefined, null, 7, {}, ['https://images.example/']])('%j is no text', (url) => {
    expect(against(url)).toContain('must be a string')
  })

  test('whatever is accepted has a name with a dot for a host', () => {
    const piece = fc.constantFrom(
      'https:',
      '/',
      '\\',
      '@',
      '.',
      ':',
      '127',
      '0x7f',
      '1',
      'a',
      'example',
      '[',
      ']',
      '%',
      '#',
      '?',
      '\t',
      '。',
      'localhost',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        const url = `https://${pieces.join('')}`
        if (against(url) !== undefined) return
        const { hostname, username, protocol } = new URL(requireImageUrl(url, at, '*'))
        expect([protocol, username]).toEqual(['https:', ''])
        expect(hostname).toMatch(/^(?:[^.[\]]+\.)+[a-z][a-z0-9-]*\.?$/)
      }),
      { numRuns: 3000 },
    )
  })
})

describe('addresses in what nobody here understands', () => {
  test.each([
    [{ video_url: { url: 'http://169.254.169.254/' } }, 'part.video_url.url'],
    [{ source: { type: 'url', url: ' \n\thttps://localhost/x' } }, 'part.source.url'],
    [{ urls: ['https://images.example/', 'FILE:/etc/passwd'] }, 'part.urls[1]'],
    [{ a: [{ b: '\u0000gopher://images.example' }] }, 'part.a[0].b'],
    [{ a: 'http:images.example' }, 'part.a'],
    [{ a: 'ht\ntp:\r\n//10.0.0.1/' }, 'part.a'],
    [{ a: 'https:\\\\10.0.0.1/' }, 'part.a'],
    [{ a: 'http://10.0.0.1/ \n' }, 'part.a'],
    [{ url: '//10.0.0.1/' }, 'part.url'],
    [{ url: '/etc/passwd' }, 'part.url'],
    [{ url: '' }, 'part.url'],
    [{ video_url: 'http://10.0.0.1/ and more' }, 'part.video_url'],
    [{ Audio_URL: ['https://images.example/', 'localhost:80'] }, 'part.Audio_URL[1]'],
    [{ text: { url: 'http://10.0.0.1/' } }, 'part.text.url'],
  ])('%j is refused by its path', (value, param) => {
    expect(() => requirePublicUrls(value, 'part', '*')).toThrowError(
      expect.objectContaining({ param }) as ChatError,
    )
  })

  test.each([
    { input_audio: { data: 'UklGRg==', format: 'wav' } },
    { file: { file_data: 'data:application/pdf;base64,JVBERg==', filename: 'a.pdf' } },
    { video_url: { url: 'https://videos.example/a.mp4' } },
    { video_url: ' data:video/mp4;base64,AAAA', curl: 'x', URLs: 'none' },
    { a: 'http://10.0.0.1/ and more', b: 'https://localhost is this machine' },
    {
      text: 'http://10.0.0.1/',
      thinking: 'http://localhost',
      refusal: 'ftp://a',
      x: [{ text: 'file:///a' }],
    },
    { note: 'see http://localhost/', text: 'File: a.txt', ratio: '16:9', flag: true, none: null, count: 3 },
  ])('%j passes', (value) => {
    expect(() => requirePublicUrls(value, 'part', '*')).not.toThrow()
  })
})
