/** What the server tells the page about itself. */
export interface PageConfig {
  /** No real model answers. */
  readonly simulated: boolean
  /** The default model; empty when the server did not say. */
  readonly model: string
  /** Every model that can be asked for. */
  readonly models: readonly string[]
  /** Leaving the page stops the answer: for servers that are not told when a reader leaves. */
  readonly stopOnPageHide: boolean
}

/**
 * Reads `<meta name="deltarelay">`, whose content the server fills with JSON.
 * A page served without a server that fills it knows nothing, and works all the same.
 */
export function readConfig(): PageConfig {
  const content = document.querySelector('meta[name="deltarelay"]')?.getAttribute('content')
  // Written by our own server into our own page, so its shape is known.
  const config = JSON.parse(content || '{}') as Partial<PageConfig>
  const { simulated = false, model = '', models = [], stopOnPageHide = false } = config
  return { simulated, model, models, stopOnPageHide }
}
