/** Within this distance of the end a reader counts as being there; browsers round scroll positions. */
const NEAR_PX = 32

/**
 * Keeps the newest line in sight, but only for a reader who is at the end: someone who has scrolled up to read
 * is left alone and offered the button. Returns a function that goes to the end.
 */
export function followEnd(scroller: HTMLElement, content: Node, button: HTMLElement): () => void {
  let following = true
  const update = (): void => {
    if (following) scroller.scrollTop = scroller.scrollHeight
    button.hidden = following
  }
  const toEnd = (): void => {
    following = true
    update()
  }
  scroller.addEventListener('scroll', () => {
    following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX
    button.hidden = following
  })
  button.addEventListener('click', toEnd)
  new MutationObserver(update).observe(content, { childList: true, subtree: true, characterData: true })
  new ResizeObserver(update).observe(scroller)
  return toEnd
}
