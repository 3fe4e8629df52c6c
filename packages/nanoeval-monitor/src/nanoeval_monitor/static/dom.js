// Builds elements. Texts only ever become text nodes: nothing a model wrote is read as markup.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "value") element.value = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  const { class: more, ...others } = attributes || {};
  if (more) element.className = [...classes, more].join(" ");
  return build(element, others, children);
}

export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

export function replace(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

// What would otherwise act on the text around it, or not be seen: control characters (ANSI codes
// among them) and the marks that turn the direction of writing.
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const MANY = 2000;

function nameOf(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
}

// A text that somebody or something wrote: isolated from the direction around it, and with what
// is hidden made visible.
export function written(text, tag = "span", className = "") {
  const element = h(tag, { class: "written " + className, dir: "auto" });
  const value = String(text);
  let last = 0;
  let marks = 0;
  for (const found of value.matchAll(HIDDEN)) {
    if (++marks > MANY) break;
    element.append(value.slice(last, found.index));
    element.append(h("span.hidden-mark", { title: "control character" }, nameOf(found[0])));
    last = found.index + found[0].length;
  }
  const rest = value.slice(last);
  element.append(marks > MANY ? rest.replace(HIDDEN, "\ufffd") : rest);
  return element;
}

// Replaces the children of `element` by `fresh`, keeping those whose key and content stay: what
// somebody has focused or selected survives an update.
export function sync(element, fresh) {
  const old = new Map([...element.children].map((child) => [child.dataset.key, child]));
  const kept = fresh.map((child) => {
    const before = old.get(child.dataset.key);
    return before && before.isEqualNode(child) ? before : child;
  });
  kept.forEach((child, index) => {
    if (element.children[index] !== child) {
      element.insertBefore(child, element.children[index] || null);
    }
  });
  while (element.children.length > kept.length) element.lastElementChild.remove();
}
