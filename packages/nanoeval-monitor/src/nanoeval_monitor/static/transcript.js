// One question: what was asked, what was replied, and how it was scored, attempts side by side.

import { h, replace, written } from "./dom.js";
import { data, fileUrl } from "./data.js";
import { bytes, counted, number } from "./format.js";
import { newMessages } from "./messages.js";
import { verdictTag } from "./parts.js";

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
  const shown = {
    key,
    whole: async () => {
      found = await data.transcript(key, sample, true);
      show();
    },
  };
  const show = () => {
    const several = found.attempts.length > 1;
    replace(box,
      h("div.detail-head", {},
        h("h2", {}, written(found.sample_id)),
        several ? h("span.muted", {}, attemptsOf(found)) : null,
        h("span.spacer"),
        h("button.quiet", { type: "button", onclick: () => step(-1), "aria-label": "Previous sample" }, "↑"),
        h("button.quiet", { type: "button", onclick: () => step(1), "aria-label": "Next sample" }, "↓"),
        h("button.quiet", { type: "button", onclick: close, "aria-label": "Close" }, "✕")),
      h("div.attempts", { class: several ? "several" : "" }, found.attempts.map((one) => attempt(one, several, shown))));
  };
  show();
}

function attemptsOf({ attempts, total }) {
  if (total > attempts.length) return `${attempts.length} of ${total} attempts`;
  const retries = attempts.filter((one) => one.retry).length;
  return [counted(total - retries, "attempt"), retries ? `${retries} ${retries === 1 ? "retry" : "retries"}` : ""].filter(Boolean).join(", ");
}

function attempt(one, several, shown) {
  const facts = [];
  if (one.picked || one.expected) facts.push(["picked", written(one.picked || "nothing")], ["expected", written(one.expected)]);
  if (one.score !== null && one.score !== 0 && one.score !== 1) facts.push(["score", number(one.score, 3)]);
  if (one.prob !== null) facts.push(["probability", number(one.prob, 3)]);
  for (const [name, value] of Object.entries(one.fields)) facts.push([name, written(value)]);
  const turns = one.events.filter((event) => event.type === "sampling");
  let before = null;
  const body = one.events.map((event) => {
    if (event.type !== "sampling") return EVENTS[event.type]?.(event, shown) || other(event, shown);
    const turn = turns.length > 1 ? `Turn ${turns.indexOf(event) + 1} of ${turns.length}` : "";
    const drawn = sampling(event, before, turn, shown);
    before = event.data;
    return drawn;
  });
  return h("article.attempt", {},
    h("header.attempt-head", {}, several ? h("b", {}, `Attempt ${one.attempt}${one.retry ? `, retry ${one.retry}` : ""}`) : null, verdictTag(one.verdict), one.at ? h("span.muted.small.num", {}, written(String(one.at).replace("T", " ").slice(0, 19))) : null),
    facts.length ? h("dl.facts", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, written(name)), h("dd", {}, value)))) : null,
    body);
}

function sampling(event, before, turn, shown) {
  const { prompt, sampled, tool_calls, ...rest } = event.data && typeof event.data === "object" ? event.data : { prompt: event.data };
  const replies = Array.isArray(sampled) ? sampled : sampled === undefined ? [] : [sampled];
  const { earlier, fresh } = newMessages(prompt, before);
  return h("div.event.sampling", {},
    turn ? h("h3.turn", {}, turn) : null,
    earlier.length ? h("details.earlier", {}, h("summary", {}, `${earlier.length} earlier ${earlier.length === 1 ? "message" : "messages"}`), messages(earlier, shown)) : null,
    messages(fresh, shown),
    replies.map((reply, index) => bubble("assistant", reply, shown, "reply", index ? null : tool_calls)),
    details(rest, "more of the sampling", shown));
}

const EVENTS = {
  match: (event, shown) => {
    const { correct, expected, picked, prob_correct, question, choices, ...rest } = event.data && typeof event.data === "object" ? event.data : {};
    return h("div.event", {}, choicesOf(choices, picked, expected), details(rest, "more of the match", shown));
  },
  error: (event, shown) => h("div.event.error", { role: "note" }, h("b", {}, written(event.data?.type || "error")), " ", text(event.data?.message ?? event.data, shown), details(without(event.data, ["type", "message", "msg"]), "more", shown)),
  metrics: (event, shown) => h("div.event", {}, details(event.data, event.data?.completed ? "completed" : "metrics", shown)),
};

const without = (value, names) => Object.fromEntries(Object.entries(value && typeof value === "object" ? value : {}).filter(([name]) => !names.includes(name)));

function other(event, shown) {
  const result = event.data?.tool_result;
  if (result && typeof result.whole === "string") return h("div.event", {}, h("span.role", {}, "whole result of ", written(result.call)), text(result.whole, shown));
  return h("div.event", {}, h("span.role", {}, written(event.type)), text(event.data, shown));
}

function messages(prompt, shown) {
  const chat = Array.isArray(prompt) && prompt.every((message) => message && typeof message.role === "string");
  if (!chat) return bubble("prompt", prompt, shown);
  return prompt.map((message) => bubble([message.role, message.name, message.tool_call_id].filter(Boolean).join(" · "), message.content, shown, "", message.tool_calls));
}

function bubble(role, content, shown, className = "", calls = null) {
  const hasText = content !== null && content !== undefined && content !== "";
  return h("div", { class: "bubble " + className, "data-role": role }, h("span.role", {}, written(role)),
    hasText || !calls ? text(content, shown) : null,
    (Array.isArray(calls) ? calls : []).map((call) => toolCall(call, shown)));
}

function toolCall(call, shown) {
  const asked = call?.function || call || {};
  let given = asked.arguments;
  try {
    given = typeof given === "string" ? JSON.parse(given) : given;
  } catch {
    // what a model wrote need not be JSON: it is shown as it is
  }
  const pairs = given && typeof given === "object" && !("$cut" in given) ? Object.entries(given) : [["", given]];
  return h("div.call", {}, h("span.role", {}, "calls ", written(asked.name || "a tool", "b"), call?.id ? [" · ", written(call.id)] : null), pairs.map(([name, value]) => h("div.argument", {}, name ? h("span.role", {}, written(name)) : null, text(value, shown))));
}

// The choices that were shown, by letter: the picked and the right one marked.
function choicesOf(choices, picked, expected) {
  if (!choices || typeof choices !== "object") return null;
  const holds = (value, letter) => (Array.isArray(value) ? value : [value]).includes(letter);
  return h("ol.choices", { "aria-label": "Choices" }, Object.entries(choices).map(([letter, choice]) => {
    const marks = [holds(picked, letter) ? "picked" : "", holds(expected, letter) ? "expected" : ""].filter(Boolean);
    return h("li", { class: marks.join(" ") }, h("span.letter", {}, written(letter)), written(typeof choice === "string" ? choice : JSON.stringify(choice)), marks.length ? h("span.mark-note", {}, marks.join(", ")) : null);
  }));
}

const KEPT = /^sha256:[0-9a-f]{64}$/;
const INLINE_IMAGE = /^data:image\/(png|jpeg|gif|webp);base64,/;

function image(url, shown) {
  const source = KEPT.test(url) ? fileUrl(shown.key, url) : INLINE_IMAGE.test(url) ? url : null;
  if (!source) return h("span.muted", {}, "image at ", written(url, "code"));
  return h("a.image", { href: source, target: "_blank", rel: "noopener" }, h("img", { src: source, alt: "image of the prompt", loading: "lazy" }));
}

// A text, whole or cut; what is no text as JSON. Parts of a message are shown as what they are.
function text(value, shown) {
  if (value === null || value === undefined) return h("span.muted", {}, "nothing");
  if (value === "") return h("span.muted", {}, "empty");
  if (typeof value === "object" && "$cut" in value) {
    return h("div", {}, written(value.$cut, "pre"), h("button.more", { type: "button", onclick: shown.whole }, `Show all ${bytes(value.$length)}`));
  }
  if (Array.isArray(value) && value.length && value.every((part) => part && typeof part.type === "string")) return value.map((part) => piece(part, shown));
  if (typeof value === "string" && KEPT.test(value)) return h("a", { href: fileUrl(shown.key, value), target: "_blank", rel: "noopener" }, "open what the record keeps");
  return written(typeof value === "string" ? value : JSON.stringify(value, null, 2), "pre");
}

function piece(part, shown) {
  if (part.type === "text" || part.type === "input_text") return text(part.text, shown);
  const url = part.image_url?.url ?? part.image_url ?? part.image;
  if (typeof url === "string") return image(url, shown);
  return written(JSON.stringify(part, null, 2), "pre");
}

function details(value, name, shown) {
  if (!value || !Object.keys(value).length) return null;
  return h("details", {}, h("summary", {}, name), text(value, shown));
}
