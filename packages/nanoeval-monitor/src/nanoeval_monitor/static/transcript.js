// One question: what was asked, what was replied, and how it was scored, attempts side by side.

import { h, replace, written } from "./dom.js";
import { data } from "./data.js";
import { OUTCOMES, bytes, number } from "./format.js";
import { outcomeTag } from "./parts.js";

export async function transcript({ box, key, sample, close, step }) {
  replace(box, h("div.loading", { role: "status" }, "Loading…"));
  let found;
  try {
    found = await data.transcript(key, sample, false);
  } catch (error) {
    replace(box, h("p.note.warn", { role: "alert" }, error.message));
    return;
  }
  if (box.dataset.sample !== sample) return;
  const whole = async () => {
    found = await data.transcript(key, sample, true);
    show();
  };
  const show = () => {
    const several = found.attempts.length > 1;
    replace(box,
      h("div.detail-head", {},
        h("h2", {}, written(found.sample_id)),
        several ? h("span.muted", {}, found.total > found.attempts.length ? `${found.attempts.length} of ${found.total} attempts` : `${found.total} attempts`) : null,
        h("span.spacer"),
        h("button.quiet", { type: "button", onclick: () => step(-1), "aria-label": "Previous sample" }, "↑"),
        h("button.quiet", { type: "button", onclick: () => step(1), "aria-label": "Next sample" }, "↓"),
        h("button.quiet", { type: "button", onclick: close, "aria-label": "Close" }, "✕")),
      h("div.attempts", { class: several ? "several" : "" }, found.attempts.map((one) => attempt(one, several, whole))));
  };
  show();
}

function attempt(one, several, whole) {
  const facts = [];
  if (one.picked || one.expected) facts.push(["picked", written(one.picked || "nothing")], ["expected", written(one.expected)]);
  if (one.score !== null && one.score !== 0 && one.score !== 1) facts.push(["score", number(one.score, 3)]);
  if (one.prob !== null) facts.push(["probability", number(one.prob, 3)]);
  for (const [name, value] of Object.entries(one.fields)) facts.push([name, written(value)]);
  return h("article.attempt", {},
    h("header.attempt-head", {}, several ? h("b", {}, `Attempt ${one.attempt}${one.retry ? `, retry ${one.retry}` : ""}`) : null, outcomeTag(one.outcome, OUTCOMES[one.outcome] || one.outcome), one.at ? h("span.muted.small.num", {}, written(String(one.at).replace("T", " ").slice(0, 19))) : null),
    facts.length ? h("dl.facts", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, written(name)), h("dd", {}, value)))) : null,
    one.events.map((event) => EVENTS[event.type]?.(event, whole) || other(event, whole)));
}

const EVENTS = {
  sampling: (event, whole) => {
    const { prompt, sampled, ...rest } = event.data && typeof event.data === "object" ? event.data : { prompt: event.data };
    const replies = Array.isArray(sampled) ? sampled : sampled === undefined ? [] : [sampled];
    return h("div.event.sampling", {}, messages(prompt, whole), replies.map((reply) => bubble("assistant", reply, whole, "reply")), details(rest, "more of the sampling", whole));
  },
  match: (event, whole) => {
    const { correct, expected, picked, prob_correct, ...rest } = event.data || {};
    return Object.keys(rest).length ? h("div.event", {}, details(rest, "more of the match", whole)) : h("span");
  },
  error: (event, whole) => h("div.event.error", { role: "note" }, h("b", {}, written(event.data?.type || "error")), " ", text(event.data?.message ?? event.data, whole), details(without(event.data, ["type", "message", "msg"]), "more", whole)),
  metrics: (event, whole) => h("div.event", {}, details(event.data, event.data?.completed ? "completed" : "metrics", whole)),
};

const without = (value, names) => Object.fromEntries(Object.entries(value && typeof value === "object" ? value : {}).filter(([name]) => !names.includes(name)));

const other = (event, whole) => h("div.event", {}, h("span.role", {}, written(event.type)), text(event.data, whole));

function messages(prompt, whole) {
  const chat = Array.isArray(prompt) && prompt.length && prompt.every((one) => one && typeof one.role === "string");
  return chat ? prompt.map((one) => bubble(one.role, one.content, whole)) : bubble("prompt", prompt, whole);
}

function bubble(role, content, whole, className = "") {
  return h("div", { class: "bubble " + className, "data-role": role }, h("span.role", {}, written(role)), text(content, whole));
}

// A text, whole or cut; what is no text as JSON. Parts of a message that hold text are shown as such.
function text(value, whole) {
  if (value === null || value === undefined) return h("span.muted", {}, "nothing");
  if (typeof value === "object" && "$cut" in value) {
    return h("div", {}, written(value.$cut, "pre"), h("button.more", { type: "button", onclick: whole }, `Show all ${bytes(value.$length)}`));
  }
  if (Array.isArray(value) && value.length && value.every((part) => part && part.type === "text")) return value.map((part) => text(part.text, whole));
  return written(typeof value === "string" ? value : JSON.stringify(value, null, 2), "pre");
}

function details(value, name, whole) {
  if (!value || !Object.keys(value).length) return null;
  return h("details", {}, h("summary", {}, name), text(value, whole));
}

