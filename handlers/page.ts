import { readFile } from 'node:fs/promises'
import type { Page } from '../src/page.ts'
import type { Options } from './options.ts'

/** The page's files in a directory, read when they are asked for. */
export function pageIn(directory: URL, options: Options, simulated = false): Page {
  const { model, models, stopOnPageHide } = options
  return {
    read: (name) => readFile(new URL(name, directory), 'utf8'),
    info: { simulated, model, models: models === '*' ? [model] : models, stopOnPageHide },
  }
}
