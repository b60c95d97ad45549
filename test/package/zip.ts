import { inflateRawSync } from 'node:zlib'

/** One file of a zip. */
export interface ZipEntry {
  readonly name: string
  readonly data: Buffer
}

const END_OF_DIRECTORY = 0x06054b50
const DIRECTORY_ENTRY = 0x02014b50
const DEFLATED = 8

/**
 * Reads every file of a zip, in the order of its directory. APPNOTE.TXT 6.3 §4.3.12 and §4.3.16, without zip64,
 * encryption and comments.
 *
 * @throws when the bytes are no such zip.
 */
export function readZip(zip: Buffer): readonly ZipEntry[] {
  const end = zip.length - 22
  if (end < 0 || zip.readUInt32LE(end) !== END_OF_DIRECTORY) throw new Error('Not a zip.')
  const count = zip.readUInt16LE(end + 10)
  const entries: ZipEntry[] = []

  let at = zip.readUInt32LE(end + 16)
  for (let index = 0; index < count; index++) {
    if (zip.readUInt32LE(at) !== DIRECTORY_ENTRY) throw new Error(`No directory entry at ${at}.`)
    const nameLength = zip.readUInt16LE(at + 28)
    const name = zip.toString('utf8', at + 46, at + 46 + nameLength)
    entries.push({ name, data: readData(zip, at) })
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32)
  }
  return entries
}

function readData(zip: Buffer, entry: number): Buffer {
  const header = zip.readUInt32LE(entry + 42)
  const start = header + 30 + zip.readUInt16LE(header + 26) + zip.readUInt16LE(header + 28)
  const packed = zip.subarray(start, start + zip.readUInt32LE(entry + 20))
  return zip.readUInt16LE(entry + 10) === DEFLATED ? inflateRawSync(packed) : packed
}
