// Building the page; text is always set as text, so that prompts and answers cannot be markup.

type Child = Node | string;

/** Returns a new element. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Returns the element of index.html with this id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no #${id}`);
  return found as T;
}

/** Sets text only where it has changed: layout and screen readers are left alone otherwise. */
export function setText(target: Element, value: string): void {
  if (target.textContent !== value) target.textContent = value;
}
