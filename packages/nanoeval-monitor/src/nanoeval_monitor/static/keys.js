// The keyboard: the same keys in every list.

import { h, replace } from "./dom.js";

const KEYS = [
  ["j / k", "next, previous row"],
  ["Enter", "open the row"],
  ["n / p", "next, previous page; in a sample: next, previous sample"],
  ["/", "search"],
  ["Esc", "close, or leave the search"],
  ["x", "choose a run to compare"],
  ["c", "compare the chosen runs"],
  ["g", "all runs"],
  ["?", "this help"],
];

// A view may set these; they are called with the key that was pressed.
export const commands = new Map();

export function showHelp() {
  const layer = document.getElementById("layer");
  const before = document.activeElement;
  const close = () => {
    dialog.close();
    replace(layer);
    if (before) before.focus();
  };
  const dialog = h("dialog.help", { "aria-label": "Keyboard", oncancel: close },
    h("h2", {}, "Keyboard"),
    h("table", {}, KEYS.map(([key, does]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, does)))),
    h("button", { type: "button", onclick: close }, "Close"));
  replace(layer, dialog);
  dialog.showModal();
}

function rows() {
  return [...document.querySelectorAll("[data-row]")];
}

function move(step) {
  const all = rows();
  if (!all.length) return;
  const now = all.indexOf(document.activeElement.closest("[data-row]"));
  const next = now < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, now + step));
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) typing.blur();
    else if (commands.has("Escape")) commands.get("Escape")();
    return;
  }
  if (typing || document.querySelector("dialog[open]")) return;
  const search = document.querySelector("[data-search]");
  const own = {
    j: () => move(1),
    k: () => move(-1),
    "/": () => search && search.focus(),
    g: () => (location.hash = "#/"),
    "?": showHelp,
  };
  if (event.key === "Enter") {
    const row = document.activeElement.closest("[data-row]");
    if (row && row === document.activeElement) row.querySelector("a")?.click();
    return;
  }
  const command = commands.get(event.key) || own[event.key];
  if (command) {
    event.preventDefault();
    command(event);
  }
}

export function installKeys() {
  document.addEventListener("keydown", press);
}
