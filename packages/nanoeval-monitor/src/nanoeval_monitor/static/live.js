// One run set while it goes: a view that server-sent events keep up to date.

import { h, replace, sync, written } from "./dom.js";
import { data, token, Missing } from "./data.js";
import { bytes, clock, cost, counted, duration, interval, isShare, metric, number, percent, short } from "./format.js";
import { copyable, isGoing, lasted, progressBar, resumeLine, statePill, tile } from "./parts.js";
import { fitted, timePlot } from "./plots.js";

const CAPACITY = 600;
const AT = 0, DONE = 1, FAILED = 2, RETRIES = 3, FLIGHT = 4, TOKENS = 5, P50 = 6, P95 = 7, SCORE = 8, LOW = 9, HIGH = 10;

export async function live({ main, parts }) {
  const id = parts[1];
  document.title = `nanoeval · ${id}`;
  const sets = await data.live();
  const first = sets.find((one) => one.run_set_id === id);
  if (!first) throw new Missing(`There is no run set ${id} here. It may be over: its runs are among the finished ones.`);
  const histories = new Map();
  replace(main,
    h("div.live", {},
      h("section.live-head", {}),
      h("div.overall", { hidden: true }),
      h("div.evals", {}),
      h("div.two-columns.now", {},
        h("section.panel", { "aria-label": "Executors" }, h("h2", {}, "Executors"), h("div.executors", {})),
        h("section.panel", { "aria-label": "Running longest" }, h("h2", {}, "Running longest"), h("div.stuck", {}))),
      h("p.lost.note", { role: "status", hidden: true }, "The monitor does not answer: it, or the run that it belongs to, has ended. This is what was last heard.")));
  show(main, first, histories);
  return data.follow(id, {
    histories: (all) => {
      histories.clear();
      for (const [evalId, points] of Object.entries(all)) histories.set(Number(evalId), points);
    },
    view: (view) => {
      main.querySelector(".lost").hidden = true;
      for (const one of view.evals) extend(histories, one);
      show(main, view, histories);
    },
    lost: () => {
      const note = main.querySelector(".lost");
      if (note) note.hidden = false;
    },
  });
}

// Bounded, as on the server: when there are many points, every second one goes.
function extend(histories, one) {
  const points = histories.get(one.id) || [];
  const last = points.at(-1);
  if (one.state === "running" || !last) {
    if (!last || one.point[AT] > last[AT]) points.push(one.point);
  }
  histories.set(one.id, points.length > CAPACITY ? points.filter((_, index) => index % 2 === 0) : points);
}

function show(main, view, histories) {
  const head = main.querySelector(".live-head");
  if (!head) return;
  replace(head,
    h("div.title-row", {}, h("h1", {}, written(view.run_set_id)), statePill(view.state)),
    h("div.muted", {}, `${view.evals.length} ${view.evals.length === 1 ? "eval" : "evals"} · ${isGoing(view.state) ? "" : "took "}${duration(lasted(view))}${isGoing(view.state) ? " since the start" : ""}`, view.global_limit ? ` · at most ${number(view.global_limit)} tasks at once over all` : ""),
    view.state === "died" ? h("p.note.warn", {}, "No process runs it any more, and it did not finish.") : null,
    resumeLine(view.resume));
  main.querySelector(".now").hidden = !isGoing(view.state);
  const overall = main.querySelector(".overall");
  if (view.evals.length > 1) {
    if (!overall.firstChild) overall.append(limitForm(view, { id: null, name: "all evals together" }));
    overall.hidden = false;
    refreshLimit(overall, view.global_limit);
  }
  const box = main.querySelector(".evals");
  for (const one of view.evals) {
    let panel = box.querySelector(`[data-eval="${one.id}"]`);
    if (!panel) {
      panel = evalPanel(view, one);
      box.append(panel);
    }
    fillPanel(panel, view, one, histories.get(one.id) || []);
  }
  sync(main.querySelector(".executors"), executors(view));
  sync(main.querySelector(".stuck"), stuck(view));
}

function evalPanel(view, one) {
  return h("section.panel.eval", { "data-eval": one.id, "aria-label": one.name },
    h("div.panel-head", {}, h("h2", {}, written(one.name)), h("span.muted", { class: "model" }), h("span.eval-state"), h("span.spacer"), h("a.open-run", { hidden: true }, "Samples so far →")),
    h("div.bar"),
    h("div.counts"),
    h("div.tiles"),
    limitForm(view, one),
    h("div.plots"),
    h("div.errors"));
}

function limitForm(view, one) {
  const input = h("input", { type: "number", min: "1", step: "1", id: `limit-${one.id}`, placeholder: "none", "aria-label": `Concurrency limit of ${one.name}`, value: one.concurrency ?? "" });
  const answer = h("span.answer", { role: "status" });
  const form = h("form.limit", { onsubmit: async (event) => {
    event.preventDefault();
    answer.textContent = "…";
    try {
      await data.setLimit(view.run_set_id, one.id, input.value === "" ? null : Number(input.value));
      answer.textContent = "set";
    } catch (error) {
      answer.textContent = error.message;
    }
    delete input.dataset.touched;
    setTimeout(() => (answer.textContent = ""), 4000);
  } }, h("label", { for: `limit-${one.id}` }, one.id === null ? "Limit of all evals together" : "Concurrency limit"), input, h("button", { type: "submit" }, "Set"), answer);
  input.addEventListener("input", () => (input.dataset.touched = "1"));
  if (!token()) {
    input.disabled = true;
    form.querySelector("button").disabled = true;
    form.title = "Open the URL that the monitor printed, with its token, to change the limit";
  }
  return form;
}

// What somebody is typing stays.
function refreshLimit(box, limit) {
  const field = box.querySelector(".limit input");
  if (!field.dataset.touched && document.activeElement !== field) field.value = limit ?? "";
}

function rateOf(points) {
  const last = points.at(-1);
  const before = points.findLast((point) => last[AT] - point[AT] >= 5) || points[0];
  return last && last[AT] > before[AT] ? (last[DONE] - before[DONE]) / (last[AT] - before[AT]) : null;
}

function fillPanel(panel, view, one, points) {
  const rate = rateOf(points.length ? points : [one.point]);
  const lost = one.failed;
  const left = one.total - one.done - lost;
  replace(panel.querySelector(".model"), one.model ? written(one.model) : null);
  replace(panel.querySelector(".eval-state"), statePill(one.state));
  const link = panel.querySelector(".open-run");
  if (one.key) {
    link.hidden = false;
    link.href = `#/run/${encodeURIComponent(one.key)}/samples`;
  }
  replace(panel.querySelector(".bar"), progressBar([one]));
  replace(panel.querySelector(".counts"),
    [["done", one.done], ["running", one.in_flight], ["queued", one.queued], ["failed", lost, "lost"]].map(([kind, count, name = kind]) =>
      h("span", { class: "key " + kind }, h("b.num", {}, number(count)), " " + name)),
    h("span.of.num", {}, `of ${number(one.total)}`));
  const running = one.state === "running";
  const usage = one.usage;
  refreshLimit(panel, one.concurrency);
  const tokens = usage.prompt_tokens + usage.completion_tokens;
  replace(panel.querySelector(".tiles"),
    tile("Score", one.score ? metric(one.score.mean) : "–", one.score ? (one.score.low === null ? one.score.why : `${interval(one.score.low, one.score.high, isShare(one.score.mean))} · n ${short(one.score.n)}`) : "no scored answers yet"),
    tile("Tasks per second", running ? short(rate) : "–", running && rate > 0 ? `${duration(left / rate)} to go` : running ? "" : `took ${duration(one.elapsed)}`),
    running ? tile("Latency", duration(one.point[P50]), one.point[P95] === null ? "median, last 5 s" : `95th percentile ${duration(one.point[P95])}`) : null,
    running ? tile("In flight", number(one.in_flight), one.concurrency ? `limit ${number(one.concurrency)}` : "no limit") : null,
    tile("Retries", number(one.retries), usage.retries ? `${number(usage.retries)} of requests` : "of tasks"),
    tile("Tokens", short(tokens), tokens ? `${short(usage.prompt_tokens)} in, ${short(usage.completion_tokens)} out` : "none reported"),
    tile("Cost", usage.cost ? cost(usage.cost) : "–", usage.cost && one.done ? `${cost((usage.cost / one.done) * 1000)} per 1,000 tasks` : "no prices given"),
    running ? gauges(view) : null);
  panel.querySelector(".limit").hidden = !isGoing(one.state);
  plots(panel, points);
  errors(panel.querySelector(".errors"), one);
}

function gauges(view) {
  const sums = new Map();
  for (const executor of view.executors) {
    if (executor.state !== "running") continue;
    for (const [name, value] of Object.entries(executor.gauges)) sums.set(name, Math.max(sums.get(name) ?? -Infinity, Number(value)));
  }
  return [...sums].map(([name, value]) => tile(name, short(value), "now"));
}

const drawn = new WeakMap(); // by panel: what its plots show, and how to draw it again

function plots(panel, points) {
  const box = panel.querySelector(".plots");
  const last = points.at(-1)?.[AT];
  const known = drawn.get(panel);
  if (points.length < 2) return void replace(box);
  if (known?.last === last) return; // nothing goes on
  drawn.set(panel, { last, points });
  const rates = points.slice(1).map((point, index) => [point[AT], (point[DONE] - points[index][DONE]) / Math.max(0.001, point[AT] - points[index][AT])]);
  const common = { formatX: clock, height: 150 };
  const of = (column) => points.map((point) => [point[AT], point[column]]);
  const plot = (series, options) => fitted((width) => timePlot(series, { ...common, ...options }, width));
  const shares = points.every((point) => point[SCORE] === null || isShare(point[SCORE]));
  replace(box,
    plot([{ name: "tasks per second", class: "one", area: true, points: rates }], { label: "Tasks per second", format: short }),
    plot([{ name: "median", class: "one", points: of(P50) }, { name: "95th percentile", class: "two", points: of(P95) }], { label: "Latency", format: duration }),
    plot([{ name: "score", class: "three", points: of(SCORE), band: points.map((point) => [point[AT], point[LOW], point[HIGH]]) }], { label: "Score and 95 % interval", format: shares ? (value) => percent(value, 0) : short, fit: shares, empty: "no scored answers yet" }),
    plot([{ name: "in flight", class: "four", area: true, points: of(FLIGHT) }], { label: "Tasks in flight", format: short }));
}

function errors(box, one) {
  if (!one.errors.length) return void replace(box);
  const open = new Set([...box.querySelectorAll("details[open]")].map((each) => each.dataset.kind));
  replace(box,
    h("h3", {}, "Errors by kind"),
    h("p.muted", {}, [one.retries ? `${counted(one.retries, "attempt")} failed and ${one.retries === 1 ? "was" : "were"} retried` : "", one.failed ? `${counted(one.failed, "task")} lost` : ""].filter(Boolean).join(", ")),
    one.errors.map((kind) =>
      h("details", { "data-kind": kind.kind, open: open.has(kind.kind) },
        h("summary", {}, h("span.num.error-count", {}, number(kind.count)), written(kind.kind, "code"), written(kind.message.split("\n")[0].slice(0, 200), "span", "muted clip")),
        h("p.muted", {}, "Latest: ", written(kind.task, "code"), ` at ${clock(kind.at)}`),
        written(kind.message, "pre"),
        kind.traceback ? written(kind.traceback, "pre", "trace") : null)));
}

function executors(view) {
  const rows = view.executors.filter((one) => one.state === "running");
  const gone = view.executors.length - rows.length;
  return [
    ...rows.map((one) => {
      const late = one.heartbeat > 5;
      return h("article.executor", { "data-key": one.name + one.pid },
        h("div.executor-head", {}, h("span", { class: "beat " + (late ? "late" : "") }), h("strong", {}, written(one.name)), h("span.muted", {}, written(`${one.kind} · pid ${one.pid} · ${one.host}`))),
        h("dl.facts", {},
          [["heartbeat", late ? `${duration(one.heartbeat)} ago` : "now"], ["in flight", number(one.in_flight)], ["memory", bytes(one.memory)], ["up", duration(Math.round((view.now - one.since) / 5) * 5)]].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd.num", {}, value)))),
        h("div.commands", {}, one.commands.map(copyable)));
    }),
    gone ? h("p.muted", { "data-key": "gone" }, `${gone} earlier ${gone === 1 ? "one has" : "ones have"} ended.`) : null,
    !rows.length && !gone ? h("p.muted", { "data-key": "none" }, "None has started yet.") : null,
  ].filter(Boolean);
}

// A place in the code with the last two parts of its path.
const nearby = (where) => where.replace(/\((?:.*\/)?([^/]+\/[^/]+:\d+)\)$/, "($1)");

function stuck(view) {
  if (!view.stuck.length) return [h("p.muted", { "data-key": "none" }, "Nothing is in flight.")];
  return [
    h("table", { "data-key": "table" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Task"), h("th.num", { scope: "col" }, "For"), h("th", { scope: "col" }, "Awaiting"))),
      h("tbody", {}, view.stuck.slice(0, 12).map((one) => h("tr", {}, h("td", {}, written(one.task)), h("td.num", {}, duration(one.seconds)), h("td.where", { title: one.where }, written(nearby(one.where || "–"), "code")))))),
  ];
}
