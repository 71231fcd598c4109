// Elements without markup in strings: everything that a service says arrives as text.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => filled(document.createElementNS(SVG, name), attributes, children);
export const byId = (id) => document.getElementById(id);

/** An element whose custom property is set by the object model, which the page's policy allows. */
export function styled(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
  return node;
}

/** Switch a button off without taking the focus from it, as `disabled` would; its clicks then do nothing. */
export function setDisabled(button, off) {
  button.setAttribute("aria-disabled", String(off));
}

document.addEventListener("click", (event) => {
  if (event.target instanceof Element && event.target.closest('[aria-disabled="true"]')) {
    event.stopImmediatePropagation();
    event.preventDefault();
  }
}, true);
