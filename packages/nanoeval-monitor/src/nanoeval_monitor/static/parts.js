// What several views show alike.

import { h } from "./dom.js";
import { VERDICT_MEANS, number, verdictClass } from "./format.js";

export const isGoing = (state) => state === "running" || state === "queued";

export const statePill = (state) => h("span", { class: "pill " + state }, state);

// done, lost, running and queued, as shares of one bar.
export function progressBar(evals) {
  const sum = (name) => evals.reduce((total, one) => total + one[name], 0);
  const parts = [["done", sum("done")], ["failed", sum("failed"), "lost"], ["running", sum("in_flight")], ["queued", sum("queued")]];
  const total = Math.max(1, sum("total"));
  const bar = h("div.progress", { role: "img", "aria-label": parts.map(([kind, count, name = kind]) => `${count} ${name}`).join(", ") });
  for (const [kind, count, name = kind] of parts.filter(([, count]) => count)) {
    const part = h("span", { class: kind, title: `${number(count)} ${name}` });
    part.style.width = (100 * count) / total + "%";
    bar.append(part);
  }
  return bar;
}

// How long a run set has been going, or took: seconds.
export function lasted(view) {
  const started = Math.min(...view.evals.map((one) => one.created_at));
  return (isGoing(view.state) ? view.now : Math.max(...view.evals.map((one) => one.created_at + one.elapsed))) - started;
}

export function tile(label, value, note, extra) {
  return h("div.tile", { "data-key": label }, h("div.tile-label", {}, label), h("div.tile-value.num", {}, value), note ? h("div.tile-note", {}, note) : null, extra || null);
}

export function copyable(text) {
  const button = h("button.copy", { type: "button", title: "Copy", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(button.previousElementSibling);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
    setTimeout(() => (button.textContent = "copy"), 1200);
  } }, "copy");
  return h("span.command", {}, h("code", {}, text), button);
}

export const verdictTag = (verdict) => h("span", { class: verdictClass(verdict), title: VERDICT_MEANS[verdict] }, verdict);

// How to go on with a run that did not finish.
export const resumeLine = (command) => (command ? h("p.resume", {}, "To finish it: ", copyable(command)) : null);
