/** Small helpers to build DOM nodes; text always enters as text, never as markup. */

/** @param {string} id */
export const byId = (id) => document.getElementById(id);

/**
 * An HTML element: `el("td", { class: "mono" }, "12")`.
 * @param {string} name
 * @param {Record<string, string | number | boolean | null>} attributes `null` and `false` are left out
 * @param {...(Node | string | number)} children
 */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  setAttributes(node, attributes);
  node.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  setAttributes(node, attributes);
  node.append(...children);
  return node;
}

function setAttributes(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : String(value));
  }
}

/** Set a custom property; style attributes in markup are forbidden by our own CSP. */
export function css(node, name, value) {
  node.style.setProperty(name, String(value));
  return node;
}
