// The samples of a run: a list that is filled as one scrolls, and one sample's transcript.

import { h, replace, written } from "./dom.js";
import { data } from "./data.js";
import { VERDICTS, VERDICT_MEANS, counted, number } from "./format.js";
import { commands } from "./keys.js";
import { verdictTag } from "./parts.js";
import { transcript } from "./transcript.js";

const PAGE = 100;
const ROW = 54; // pixels; also in the style sheet
const TALLEST = 20e6; // pixels; browsers clip elements that are much higher
const SORTS = [["order", "as recorded"], ["sample", "question"], ["score", "score, low first"], ["-prob", "most confident"], ["prob", "least confident"], ["-length", "longest reply"], ["length", "shortest reply"]];

let session = null;

export async function samples({ box, key, query, summary }) {
  const asked = {
    verdict: query.get("verdict") || "",
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
  const counts = { ...(summary?.verdicts || {}), "with errors": summary?.with_errors };
  const chips = ["", ...VERDICTS.filter((name) => counts[name] || name === asked.verdict), ...(asked.verdict === "with errors" ? ["with errors"] : [])];
  let typing = 0;
  replace(box,
    h("section.panel.samples", { "aria-label": "Samples" },
      h("div.filters", {},
        h("div.chips", { role: "group", "aria-label": "Verdict" }, chips.map((name) => h("button.chip", { type: "button", title: VERDICT_MEANS[name], "aria-pressed": String(asked.verdict === name), onclick: () => go({ verdict: name, sample: "" }) }, name || "all", counts[name] ? h("span.num.muted", {}, " " + number(counts[name])) : null))),
        fieldFilter(Object.keys(summary?.fields || {})),
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

// Any field that was recorded, and then one of its values.
function fieldFilter(names) {
  const { asked, key } = session;
  if (!names.length && !asked.field) return null;
  const known = names.includes(asked.field) || !asked.field ? names : [asked.field, ...names];
  const values = h("select", { "aria-label": "Value", hidden: !asked.field, onchange: (event) => go({ value: event.target.value, sample: "" }) });
  const offer = async (field) => {
    replace(values, h("option", { value: "" }, "every value"));
    values.hidden = !field;
    if (!field) return;
    const found = (await data.values(key, field)).values;
    const listed = found.some(([value]) => value === asked.value) || !asked.value ? found : [[asked.value, null], ...found];
    for (const [value, count] of listed) values.append(h("option", { value, selected: field === asked.field && value === asked.value }, count === null ? value : `${value} (${number(count)})`));
  };
  const field = h("select", { "aria-label": "Field", onchange: (event) => {
    if (!event.target.value && asked.value) go({ field: "", value: "", sample: "" });
    else {
      asked.field = event.target.value;
      offer(asked.field);
    }
  } }, h("option", { value: "" }, "any field"), known.map((name) => h("option", { value: name, selected: name === asked.field }, name)));
  if (asked.field) offer(asked.field);
  return h("span.field-filter", {}, field, values);
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
  const { attempts, searchable, bytes, bytes_read: read, complete } = found.index;
  const share = (part) => `${Math.min(99, Math.floor((100 * part * read) / (bytes || 1)))} % of the record`;
  const busy = !found.searched ? ` · searched ${number(searchable)} attempts so far, ${share(searchable / (attempts || 1))}` : complete ? "" : ` · read ${share(1)} so far`;
  mine.isBusy = Boolean(busy);
  mine.box.querySelector(".result-count").textContent = `${counted(found.total, "attempt")}${busy}`;
  // Until all was searched or read, the counts and the first pages may change.
  if (!found.searched || !complete) {
    clearTimeout(mine.again);
    mine.again = setTimeout(async () => {
      if (mine !== session || !mine.box.isConnected) return;
      mine.wanted.delete(page);
      await load(page);
      if (mine === session) paint();
    }, found.searched ? 700 : 1000);
  }
}

const rowAt = (index) => session.pages.get(Math.floor(index / PAGE))?.[index % PAGE];

// Only the rows in view, and some around them, are in the page.
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
  if (!session.total) replace(body, nothing());
  if (missing.size) Promise.all([...missing].map(load)).then(() => session.box.isConnected && paintOnce(missing));
}

function nothing() {
  const { asked, isBusy } = session;
  const filters = [asked.verdict, asked.field && asked.value ? `${asked.field} = ${asked.value}` : "", asked.q ? `“${asked.q}”` : ""].filter(Boolean);
  if (!filters.length) return h("p.empty", {}, isBusy ? "The record is being read." : "No attempt is in the record.");
  return h("div.empty", {}, h("p", {}, isBusy ? "Nothing found so far for " : "No attempt matches ", written(filters.join(" and ")), "."), h("p", {}, h("button", { type: "button", onclick: () => go({ verdict: "", field: "", value: "", q: "", sample: "" }) }, "Show all attempts")));
}

function paintOnce(pages) {
  if ([...pages].some((page) => session.pages.has(page))) paint();
}

function listRow(row, index) {
  if (!row) return h("div.row.waiting", { role: "row" }, "…");
  const link = h("a", { href: hrefOf(row), tabindex: "-1" });
  link.append(written(row.sample_id));
  const name = row.attempt > 1 || row.retry ? h("span.muted.small", {}, ` ${row.attempt}${row.retry ? `, retry ${row.retry}` : ""}`) : null;
  const failed = row.verdict === "error" || row.verdict === "lost";
  return h("div.row", { role: "row", tabindex: "0", "data-row": true, "data-index": index, class: row.sample_id === session.opened ? "selected" : "", onclick: (event) => event.target.closest("a") || link.click() },
    h("span", { role: "cell" }, verdictTag(row.verdict)),
    h("span.row-id", { role: "cell" }, link, name),
    h("span.row-texts", { role: "cell" }, h("span.row-question", {}, written(row.question)), h("span.row-reply", {}, written(failed ? row.error : row.reply))),
    h("span.row-picked.num", { role: "cell" }, row.picked || row.expected ? [written(row.picked || "–"), row.verdict === "right" ? null : h("span.muted", {}, " / ", written(row.expected))] : row.score === null ? "" : number(row.score, 2)));
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
