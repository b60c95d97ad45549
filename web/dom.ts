type Child = Node | string

/**
 * Makes an element. Strings become text nodes, so nothing that arrives over the wire is ever parsed as HTML.
 * Long lists of children are passed as an array: as arguments they would exhaust the stack.
 */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...children: readonly (Child | readonly Child[])[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  if (className) element.className = className
  for (const child of children.flat()) element.append(child)
  return element
}

/** Finds an element of `index.html` by its id; throws when the two files disagree. */
export function find<T extends Element>(id: string, type: new () => T): T {
  const element = document.getElementById(id)
  if (!(element instanceof type)) throw new Error(`index.html has no ${type.name} with the id "${id}".`)
  return element
}

/** Makes a link to an https address; any other address is shown as the text it is. */
export function link(url: string, label: string): HTMLElement {
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') {
    return make('span', '', label === url ? url : `${label} (${url})`)
  }
  const anchor = make('a', '', label)
  anchor.href = url
  anchor.title = url
  anchor.target = '_blank'
  anchor.rel = 'noopener noreferrer'
  return anchor
}
