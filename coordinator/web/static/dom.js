// Building and patching elements. Text only ever enters the page as text nodes, so a name full of
// HTML is shown as it is written.

/**
 * Make an element. Keys of `props` that start with "on" are listeners, "class" and everything else
 * are attributes; true sets an empty attribute, false and null leave it out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set the text of an element, touching the document only when it differs. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set or remove an attribute, touching the document only when it differs. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Show or hide an element. */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/**
 * Run `change`. Where it hides the control that has the focus, the first one of the same group that
 * is shown gets it: a keyboard must not fall off the page because its button did its work.
 */
export function keepFocus(group, change) {
  const held = group.contains(document.activeElement) ? document.activeElement : null;
  change();
  if (held?.hidden) [...group.querySelectorAll("button")].find((button) => !button.hidden)?.focus();
}

/**
 * Children of one element, one for each item, kept by key and in order.
 * `make(item)` returns `{ element, update(item) }`, and `dispose()` where its end matters.
 */
export class KeyedList {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.rows = new Map();
  }

  /** Bring the children in line with `items`; `key(item)` names each one. */
  set(items, key) {
    const wanted = new Set(items.map(key));
    const held = this.parent.contains(document.activeElement) ? document.activeElement : null;
    for (const [name, row] of this.rows) {
      if (!wanted.has(name)) {
        row.element.remove();
        row.dispose?.();
        this.rows.delete(name);
      }
    }
    let next = this.parent.firstElementChild;
    for (const item of items) {
      const name = key(item);
      let row = this.rows.get(name);
      if (row === undefined) {
        row = this.make(item);
        this.rows.set(name, row);
      }
      row.update(item);
      if (row.element === next) next = next.nextElementSibling;
      else this.parent.insertBefore(row.element, next);
    }
    // Moving an element drops its focus.
    if (held !== null && held !== document.activeElement && held.isConnected) held.focus({ preventScroll: true });
  }

  /** Update the child of one key where it stands; false when there is none. */
  patch(name, item) {
    const row = this.rows.get(name);
    if (row === undefined) return false;
    row.update(item);
    return true;
  }
}
