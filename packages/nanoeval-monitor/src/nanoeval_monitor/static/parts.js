// What several views show alike.

import { h, written } from "./dom.js";
import { number } from "./format.js";

const STATES = { going: "going", silent: "not heard from", over: "over", running: "running", done: "done", failed: "failed", stopped: "stopped" };

export const statePill = (view) => h("span", { class: "pill " + view.state }, STATES[view.state] || view.state);

// done, failed for good, running and queued, as shares of one bar.
export function progressBar(evals) {
  const sum = (name) => evals.reduce((total, one) => total + one[name], 0);
  const failed = sum("failed");
  const parts = [["done", sum("done")], ["failed", failed], ["running", sum("in_flight")], ["queued", sum("queued")]];
  const total = Math.max(1, sum("total"));
  const bar = h("div.progress", { role: "img", "aria-label": parts.map(([name, count]) => `${count} ${name}`).join(", ") });
  for (const [name, count] of parts.filter(([, count]) => count)) {
    const part = h("span", { class: name, title: `${number(count)} ${name}` });
    part.style.width = (100 * count) / total + "%";
    bar.append(part);
  }
  return bar;
}

// How long a run set has been going, or took: seconds.
export function lasted(view) {
  const started = Math.min(...view.evals.map((one) => one.created_at));
  return (view.state === "over" ? Math.max(...view.evals.map((one) => one.created_at + one.elapsed)) : view.now) - started;
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

export const outcomeTag = (outcome, name) => h("span", { class: "outcome " + outcome }, name);

export function message(text, className = "") {
  return h("p", { class: "note " + className }, written(text));
}
