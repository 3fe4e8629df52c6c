// All runs: those that are going, and a table of those that are done.

import { h, replace, sync, written } from "./dom.js";
import { data } from "./data.js";
import { cost, duration, interval, isShare, metric, moment, number, percent, short } from "./format.js";
import { commands } from "./keys.js";
import { isGoing, lasted, progressBar, statePill } from "./parts.js";

const COLUMNS = [
  { id: "created_at", name: "Started", text: (run) => moment(run.created_at), class: "num when" },
  { id: "eval_name", name: "Eval", text: (run) => run.eval_name },
  { id: "model", name: "Model", text: (run) => run.model },
  { id: "state", name: "State", text: (run) => run.state },
  { id: "score", name: "Score", class: "num", text: (run) => metric(run.score) },
  { id: "low", name: "95 % interval", class: "num wide", text: (run) => (run.low === null ? "" : interval(run.low, run.high, isShare(run.score))) },
  { id: "n", name: "Questions", class: "num wide", text: (run) => (run.n === null ? "" : number(run.n)) },
  { id: "tokens", name: "Tokens", class: "num", text: (run) => (run.tokens ? short(run.tokens) : "") },
  { id: "cost", name: "Cost", class: "num", text: (run) => (run.cost ? cost(run.cost) : "") },
  { id: "seconds", name: "Time", class: "num", text: (run) => (run.seconds === null ? "" : duration(run.seconds)) },
];

const ROWS = 200;
const chosen = new Set();

export async function home({ main, query, sameView }) {
  document.title = "nanoeval · runs";
  const sort = query.get("sort") || "-created_at";
  const filter = query.get("q") || "";
  if (!sameView || !main.querySelector(".home")) await draw(main);
  update(main, sort, filter);
  const timer = setInterval(() => refreshLive(main), 1000);
  const slow = setInterval(() => refreshRuns(main), 5000);
  commands.set("x", () => document.activeElement.closest("[data-row]")?.querySelector("input")?.click());
  commands.set("c", () => compareChosen());
  return () => {
    clearInterval(timer);
    clearInterval(slow);
    commands.delete("x");
    commands.delete("c");
  };
}

let known = { runs: [], folders: [] };
let state = { sort: "-created_at", filter: "", shown: ROWS };

async function draw(main) {
  const [runs, going] = await Promise.all([data.runs(), data.live()]);
  known = runs;
  replace(main, h("div.home", {},
    h("section.live-sets", { "aria-label": "Run sets", "aria-live": "off" }),
    h("section.panel", { "aria-label": "Runs" },
      h("div.panel-head", {},
        h("h1", {}, "Runs"),
        h("span.count", { role: "status" }),
        h("input.search", { type: "search", placeholder: "Filter by eval, model, id…", "aria-label": "Filter runs", "data-search": true, oninput: filterBy }),
        h("button.primary", { type: "button", id: "compare", onclick: compareChosen, disabled: true }, "Compare")),
      h("div.table-box", {},
        h("table.runs", {},
          h("thead", {}, h("tr", {}, h("th", {}, h("span.sr", {}, "Choose")), COLUMNS.map((column) => h("th", { class: column.class || "", scope: "col", "data-column": column.id }, h("button", { type: "button", onclick: () => sortBy(column.id) }, column.name))))),
          h("tbody", {}))),
      h("div.below"))));
  showLive(main, going);
}

function setQuery() {
  const query = new URLSearchParams();
  if (state.sort !== "-created_at") query.set("sort", state.sort);
  if (state.filter) query.set("q", state.filter);
  const text = query.toString();
  history.replaceState(null, "", "#/" + (text ? "?" + text : ""));
}

function filterBy(event) {
  state.filter = event.target.value;
  state.shown = ROWS;
  setQuery();
  fill(document.getElementById("main"));
}

function sortBy(id) {
  state.sort = state.sort === id ? "-" + id : id;
  setQuery();
  fill(document.getElementById("main"));
}

function update(main, sort, filter) {
  state = { ...state, sort, filter };
  main.querySelector(".search").value = filter;
  fill(main);
}

function matching() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const id = state.sort.replace("-", "");
  const sign = state.sort.startsWith("-") ? -1 : 1;
  return known.runs
    .filter((run) => {
      const text = [run.eval_name, run.model, run.state, run.run_id, run.run_set_id, run.part_of, run.created_by, run.path].join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    })
    .sort((a, b) => {
      const going = isGoing(b.state) - isGoing(a.state); // finished runs stand below those that are going
      if (going) return going;
      const [x, y] = [a[id], b[id]];
      if (x === y) return 0;
      if (x === null || x === undefined) return 1;
      if (y === null || y === undefined) return -1;
      return sign * (x < y ? -1 : 1);
    });
}

function fill(main) {
  const body = main.querySelector("table.runs tbody");
  if (!body) return;
  const found = matching();
  for (const head of main.querySelectorAll("th[data-column]")) {
    const id = head.dataset.column;
    head.setAttribute("aria-sort", state.sort === id ? "ascending" : state.sort === "-" + id ? "descending" : "none");
  }
  main.querySelector(".count").textContent = found.length === known.runs.length ? `${known.runs.length}` : `${found.length} of ${known.runs.length}`;
  sync(body, found.slice(0, state.shown).map(row));
  for (const box of body.querySelectorAll("input")) box.checked = chosen.has(box.value);
  const below = main.querySelector(".below");
  replace(below,
    found.length > state.shown ? h("button", { type: "button", onclick: () => { state.shown += ROWS; fill(main); } }, `Show ${Math.min(ROWS, found.length - state.shown)} more`) : null,
    known.runs.length && !found.length ? h("p.empty", {}, "No run matches ", written(`“${state.filter}”`), ". ", h("button", { type: "button", onclick: () => { state.filter = ""; setQuery(); update(main, state.sort, ""); } }, "Show all runs")) : null,
    known.runs.length ? null : h("p.empty", {}, "No records yet. They are looked for in ", h("code", {}, known.folders.join(", ") || "no folder"), "."));
  main.querySelector("#compare").disabled = chosen.size < 2;
  main.querySelector("#compare").textContent = chosen.size ? `Compare ${chosen.size}` : "Compare";
}

// What cannot be opened as a record is opened as a run set, while there is that.
const hrefOf = (run) => (run.path || !run.has_state ? `#/run/${encodeURIComponent(run.key)}` : `#/live/${encodeURIComponent(run.run_set_id)}`);

function row(run) {
  const link = h("a", { href: hrefOf(run) });
  link.append(written(run.eval_name));
  const box = h("input", { type: "checkbox", value: run.key, disabled: !run.path, "aria-label": `Choose ${run.run_id}`, tabindex: "-1", onchange: (event) => {
    event.target.checked ? chosen.add(run.key) : chosen.delete(run.key);
    fill(document.getElementById("main"));
  } });
  const cells = {
    created_at: () => moment(run.created_at).split(" ").map((part, index) => [index ? " " : "", h("span", {}, part)]),
    eval_name: () => [link, run.part_of ? h("span.tag", { title: "A cell of a sweep, or a run that scores the replies of another" }, written(run.part_of)) : null, h("div.run-id", {}, written(run.run_id))],
    state: () => [statePill(run.state), run.done !== null && run.done !== run.total ? h("div.muted.small.num", {}, `${number(run.done)} of ${number(run.total)}`) : null, run.path ? null : h("div.muted.small", {}, "no record here")],
    score: () => scoreBar(run),
  };
  return h("tr", { tabindex: "0", "data-row": true, "data-key": run.key, title: run.path || undefined },
    h("td.choose", {}, box),
    COLUMNS.map((column) => h("td", { class: [column.class || "", column.text(run) === "" ? "nothing" : ""].join(" "), "data-label": column.name }, cells[column.id] ? cells[column.id]() : written(column.text(run)))));
}

function scoreBar(run) {
  if (run.score === null || run.score === undefined) return h("span.muted", {}, "–");
  const error = run.stderr === null ? null : h("span.muted", {}, ` ± ${isShare(run.score) ? (100 * run.stderr).toFixed(1) : metric(run.stderr, false)}`);
  const name = ["", "accuracy", "score"].includes(run.metric) ? null : h("div.muted.small", {}, written(run.metric));
  if (!isShare(run.score)) return [metric(run.score), error, name];
  const bar = h("span.score-bar", { "aria-hidden": "true" }, h("span"));
  bar.firstChild.style.width = Math.max(0, Math.min(100, 100 * run.score)) + "%";
  return [bar, percent(run.score), error, name];
}

function compareChosen() {
  if (chosen.size >= 2) location.hash = `#/compare?runs=${[...chosen].map(encodeURIComponent).join(",")}`;
}

async function refreshRuns(main) {
  if (document.hidden) return;
  try {
    known = await data.runs();
    fill(main);
  } catch {
    // the server is gone: what was shown stays
  }
}

async function refreshLive(main) {
  if (document.hidden) return;
  try {
    showLive(main, await data.live());
  } catch {
    showLive(main, []);
  }
}

function showLive(main, sets) {
  const section = main.querySelector(".live-sets");
  if (!section) return;
  const going = sets.filter((one) => isGoing(one.state));
  // What ended lately is worth a look; all else is in the table.
  const ended = sets.filter((one) => !isGoing(one.state)).slice(0, Math.max(0, 3 - going.length));
  sync(section, [...going, ...ended].map(card));
}

function card(view) {
  const done = view.evals.reduce((sum, one) => sum + one.done + one.failed, 0);
  const total = view.evals.reduce((sum, one) => sum + one.total, 0);
  const last = view.evals.at(-1);
  const names = view.evals.length === 1 ? last.name : `${view.evals.length} evals`;
  return h("a.card", { href: `#/live/${encodeURIComponent(view.run_set_id)}`, "data-key": view.run_set_id },
    h("div.card-head", {}, statePill(view.state), written(names, "strong")),
    h("div.muted.small", {}, written(view.run_set_id)),
    progressBar(view.evals),
    h("div.card-foot", {},
      h("span.num", {}, `${number(done)} of ${number(total)}`),
      last.score && view.evals.length === 1 ? h("span.num", {}, metric(last.score.mean)) : null,
      h("span.num.muted", {}, duration(lasted(view)))));
}
