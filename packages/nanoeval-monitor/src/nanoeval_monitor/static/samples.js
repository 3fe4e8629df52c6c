// The samples of a run: a list that is filled as one scrolls, and one sample's transcript.

import { h, replace, written } from "./dom.js";
import { data } from "./data.js";
import { OUTCOMES, number } from "./format.js";
import { commands } from "./keys.js";
import { transcript } from "./transcript.js";

const PAGE = 100;
const ROW = 44; // pixels; also in the style sheet
const TALLEST = 20e6; // pixels; browsers clip elements that are much higher
const FILTERS = [["", "all"], ["wrong", "wrong"], ["correct", "correct"], ["unparsable", "unparsable"], ["errored", "errored"], ["unscored", "no score"]];
const SORTS = [["order", "as recorded"], ["sample", "question"], ["score", "score, low first"], ["-prob", "most confident"], ["prob", "least confident"], ["-length", "longest reply"], ["length", "shortest reply"]];

let session = null;

export async function samples({ box, key, query, summary }) {
  const asked = {
    outcome: query.get("outcome") || "",
    field: query.get("field") || "",
    value: query.get("value") || "",
    q: query.get("q") || "",
    sort: query.get("sort") || "order",
  };
  const opened = query.get("sample");
  const same = session && session.key === key && box.firstChild && JSON.stringify(session.asked) === JSON.stringify(asked);
  if (!same) {
    session = { key, asked, pages: new Map(), total: 0, box, opened, wanted: new Set() };
    draw(box, summary);
    await load(0);
    paint();
  }
  session.opened = opened;
  await openSample(opened);
  for (const [key_, action] of Object.entries({ n: () => step(1), p: () => step(-1), Escape: () => go({ sample: "" }) })) commands.set(key_, action);
  return () => ["n", "p", "Escape"].forEach((name) => commands.delete(name));
}

function go(changes) {
  const next = { ...session.asked, sample: session.opened || "", ...changes };
  const kept = Object.entries(next).filter(([name, value]) => value && !(name === "sort" && value === "order"));
  const query = new URLSearchParams(kept).toString();
  location.hash = `#/run/${encodeURIComponent(session.key)}/samples${query ? "?" + query : ""}`;
}

function draw(box, summary) {
  const { asked } = session;
  const known = summary?.outcomes || {};
  const counts = { ...known, wrong: (known.incorrect || 0) + (known.unparsable || 0) + (known.refused || 0) };
  const groups = Object.entries(summary?.groups || {}).flatMap(([field, rows]) => rows.map((row) => [field, row.value]));
  let typing = 0;
  replace(box,
    h("section.panel.samples", { "aria-label": "Samples" },
      h("div.filters", {},
        h("div.chips", { role: "group", "aria-label": "Outcome" }, FILTERS.map(([value, name]) => h("button.chip", { type: "button", "aria-pressed": String(asked.outcome === value), onclick: () => go({ outcome: value, sample: "" }) }, name, counts[value] ? h("span.num.muted", {}, " " + number(counts[value])) : null))),
        groups.length ? h("select", { "aria-label": "Group", onchange: (event) => { const [field, value] = groups[event.target.value] || ["", ""]; go({ field, value, sample: "" }); } }, h("option", { value: "" }, "every group"), groups.map(([field, value], index) => h("option", { value: index, selected: asked.field === field && asked.value === value }, `${field}: ${value}`))) : null,
        h("select", { "aria-label": "Order", onchange: (event) => go({ sort: event.target.value, sample: "" }) }, SORTS.map(([value, name]) => h("option", { value, selected: asked.sort === value }, name))),
        h("input.search", { type: "search", placeholder: "Search prompts and replies…", "aria-label": "Search all texts", "data-search": true, value: asked.q, oninput: (event) => { clearTimeout(typing); typing = setTimeout(() => go({ q: event.target.value, sample: "" }), 300); } })),
      h("div.result-count.muted", { role: "status" }),
      h("div.split", {},
        h("div.list-box", {},
          h("div.list", { role: "table", "aria-label": "Attempts", onscroll: paint, tabindex: "-1" }, h("div.list-space", { role: "presentation" }, h("div.list-rows", { role: "rowgroup" })))),
        h("div.detail", { "aria-label": "Sample" }))));
  const search = box.querySelector(".search");
  if (asked.q) search.focus();
}

async function load(page) {
  if (session.wanted.has(page)) return;
  session.wanted.add(page);
  const mine = session;
  let found;
  try {
    found = await data.samples(mine.key, { ...mine.asked, offset: page * PAGE, limit: PAGE });
  } catch (error) {
    mine.wanted.delete(page);
    if (mine === session) mine.box.querySelector(".result-count").textContent = error.message;
    return;
  }
  if (mine !== session) return;
  mine.pages.set(page, found.rows);
  mine.total = found.total;
  const busy = !found.searched ? ` · searched ${number(found.index.searchable)} of ${number(found.index.attempts)} so far` : found.index.complete ? "" : " · still being read";
  mine.box.querySelector(".result-count").textContent = `${number(found.total)} ${found.total === 1 ? "attempt" : "attempts"}${busy}`;
  // Until all was searched or read, the counts and the first pages may change.
  if (!found.searched || !found.index.complete) {
    clearTimeout(mine.again);
    mine.again = setTimeout(async () => {
      if (mine !== session || !mine.box.isConnected) return;
      mine.wanted.delete(page);
      await load(page);
      if (mine === session) paint();
    }, found.searched ? 700 : 150);
  }
}

const rowAt = (index) => session.pages.get(Math.floor(index / PAGE))?.[index % PAGE];

// Only the rows in view, and some beside them, are in the page.
function paint() {
  const list = session.box.querySelector(".list");
  if (!list) return;
  const scale = Math.max(1, (session.total * ROW) / TALLEST);
  const top = list.scrollTop * scale;
  const first = Math.max(0, Math.floor(top / ROW) - 10);
  const last = Math.min(session.total, Math.ceil((top + list.clientHeight) / ROW) + 10);
  list.querySelector(".list-space").style.height = Math.min(TALLEST, session.total * ROW) + "px";
  const missing = new Set();
  const rows = [];
  for (let index = first; index < last; index++) {
    const row = rowAt(index);
    if (!row) missing.add(Math.floor(index / PAGE));
    rows.push(listRow(row, index));
  }
  const body = list.querySelector(".list-rows");
  const focused = document.activeElement?.closest?.("[data-row]")?.dataset.index;
  body.style.transform = `translateY(${list.scrollTop - top + first * ROW}px)`;
  replace(body, rows);
  if (focused !== undefined) body.querySelector(`[data-index="${focused}"]`)?.focus({ preventScroll: true });
  if (!session.total) replace(body, h("p.empty", {}, "No attempt is like that."));
  if (missing.size) Promise.all([...missing].map(load)).then(() => session.box.isConnected && paintOnce(missing));
}

function paintOnce(pages) {
  if ([...pages].some((page) => session.pages.has(page))) paint();
}

function listRow(row, index) {
  if (!row) return h("div.row.waiting", { role: "row" }, "…");
  const link = h("a", { href: hrefOf(row), tabindex: "-1" });
  link.append(written(row.sample_id));
  const name = row.attempt > 1 || row.retry ? h("span.muted.small", {}, ` ${row.attempt}${row.retry ? `, retry ${row.retry}` : ""}`) : null;
  return h("div.row", { role: "row", tabindex: "0", "data-row": true, "data-index": index, class: row.sample_id === session.opened ? "selected" : "", onclick: (event) => event.target.closest("a") || link.click() },
    h("span", { role: "cell", class: "outcome " + row.outcome }, OUTCOMES[row.outcome] || row.outcome),
    h("span.row-id", { role: "cell" }, link, name),
    h("span.row-reply", { role: "cell" }, written(row.error && row.outcome === "error" ? row.error : row.reply || row.prompt)),
    h("span.row-picked.num", { role: "cell" }, row.picked || row.expected ? [written(row.picked || "–"), h("span.muted", {}, " / "), written(row.expected)] : ""));
}

function hrefOf(row) {
  const kept = Object.entries({ ...session.asked, sample: row.sample_id }).filter(([name, value]) => value && !(name === "sort" && value === "order"));
  return `#/run/${encodeURIComponent(session.key)}/samples?${new URLSearchParams(kept)}`;
}

async function openSample(sample) {
  const detail = session.box.querySelector(".detail");
  session.box.querySelector(".samples").classList.toggle("has-detail", Boolean(sample));
  for (const row of session.box.querySelectorAll(".list-rows [data-row]")) row.classList.toggle("selected", Boolean(sample) && rowAt(Number(row.dataset.index))?.sample_id === sample);
  if (!sample) {
    detail.dataset.sample = "";
    replace(detail);
    return paint();
  }
  if (detail.dataset.sample === sample) return;
  detail.dataset.sample = sample;
  // Where the list gives way to the sample, its beginning would be below the screen.
  if (!session.box.querySelector(".list-box").offsetParent) session.box.querySelector(".split").scrollIntoView();
  await transcript({ box: detail, key: session.key, sample, close: () => go({ sample: "" }), step });
}

async function step(by) {
  if (!session.opened) {
    const list = session.box.querySelector(".list");
    list.scrollTop += by * list.clientHeight;
    return;
  }
  let at = -1;
  for (const [page, rows] of session.pages) {
    const found = rows.findIndex((row) => row.sample_id === session.opened);
    if (found >= 0) at = Math.max(at, page * PAGE + found);
  }
  for (let index = at + by; index >= 0 && index < session.total; index += by) {
    if (!rowAt(index)) await load(Math.floor(index / PAGE));
    const row = rowAt(index);
    if (!row) return;
    if (row.sample_id !== session.opened) {
      const list = session.box.querySelector(".list");
      list.scrollTop = Math.max(0, index * ROW - list.clientHeight / 2);
      go({ sample: row.sample_id });
      return;
    }
  }
}
