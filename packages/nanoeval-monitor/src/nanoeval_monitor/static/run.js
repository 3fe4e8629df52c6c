// One run: its result first, then what lies behind it, and its samples.

import { h, replace, written } from "./dom.js";
import { data } from "./data.js";
import { VERDICTS, bytes, cost, counted, duration, interval, isShare, metric, moment, number, percent, short, verdictClass } from "./format.js";
import { copyable, isGoing, resumeLine, statePill, verdictTag } from "./parts.js";
import { calibrationPlot, dotPlot, fitted, lengthPlot } from "./plots.js";
import { samples } from "./samples.js";

export async function run({ main, parts, query, sameView }) {
  const key = parts[1];
  const tab = parts[2] || "summary";
  if (!sameView || main.querySelector(".run")?.dataset.key !== key) {
    const found = await data.run(key);
    draw(main, key, found);
    follow(main, key, found);
  }
  for (const link of main.querySelectorAll(".tabs a")) {
    link.toggleAttribute("aria-current", false);
    if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
  }
  for (const section of main.querySelectorAll("[data-section]")) section.hidden = section.dataset.section !== tab;
  if (tab === "samples") return samples({ box: main.querySelector('[data-section="samples"]'), key, query, summary: current });
  return undefined;
}

let current = null;
let timer = 0;

// While the record is being read, or written, the page follows it.
function follow(main, key, found) {
  clearTimeout(timer);
  current = found;
  const attempts = found.index?.attempts ?? 0;
  const isRead = !found.index || (found.index.complete && (attempts < 10000 || found.details_of === attempts));
  if (isRead && !isGoing(found.state)) return;
  timer = setTimeout(async () => {
    if (main.querySelector(".run")?.dataset.key !== key) return;
    try {
      const next = await data.run(key);
      if (main.querySelector(".run")?.dataset.key !== key) return;
      fill(main, key, next);
      follow(main, key, next);
    } catch {
      // the server is gone: what was shown stays
    }
  }, isRead ? 3000 : 500);
}

function draw(main, key, found) {
  const url = `#/run/${encodeURIComponent(key)}`;
  const tabs = [["summary", "Summary", url], found.path ? ["samples", "Samples", `${url}/samples`] : null, ["spec", "What was run", `${url}/spec`]].filter(Boolean);
  replace(main,
    h("div.run", { "data-key": key },
      h("section.run-head", {}),
      h("nav.tabs", { "aria-label": "Parts of the run" }, tabs.map(([tab, name, href]) => h("a", { href, "data-tab": tab }, name))),
      h("p.reading.note", { role: "status", hidden: true }),
      h("div", { "data-section": "summary" }),
      h("div", { "data-section": "samples", hidden: true }),
      h("div", { "data-section": "spec", hidden: true })));
  fill(main, key, found);
}

function fill(main, key, found) {
  document.title = `nanoeval · ${found.eval_name}`;
  head(main.querySelector(".run-head"), found);
  const reading = main.querySelector(".reading");
  reading.hidden = !found.index || found.index.complete;
  if (found.index) reading.textContent = `Reading the record: ${bytes(found.index.bytes_read)} of ${bytes(found.index.bytes)}. What is shown is what was read so far.`;
  summary(main.querySelector('[data-section="summary"]'), key, found);
  replace(main.querySelector('[data-section="spec"]'),
    h("section.panel", {}, h("h2", {}, "What was run"), found.path ? h("p.muted", {}, "The record: ", copyable(found.path)) : null, written(JSON.stringify(found.spec, null, 2), "pre")));
}

function head(box, found) {
  const facts = [
    ["started", moment(found.created_at)],
    ["time", found.seconds === null ? null : duration(found.seconds)],
    ["tasks", found.total === null ? null : found.done === found.total || found.done === null ? number(found.total) : `${number(found.done)} of ${number(found.total)}`],
    ["retries", found.retries ? number(found.retries) : null],
    ["tokens", found.tokens ? short(found.tokens) : null],
    ["cost", found.cost ? cost(found.cost) : null],
    ["by", found.created_by],
    ["run", copyable(found.run_id)],
    ["run set", found.has_state ? h("a", { href: `#/live/${encodeURIComponent(found.run_set_id)}` }, written(found.run_set_id)) : found.run_set_id],
  ];
  replace(box,
    h("div.title-row", {}, h("h1", { title: found.eval_name }, written(found.eval_name)), found.model ? h("span.model", {}, written(found.model)) : null, statePill(found.state), found.part_of ? h("span.tag", {}, written(found.part_of)) : null),
    h("dl.facts", {}, facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd.num", {}, value instanceof Node ? value : written(value))))),
    resumeLine(found.resume));
}

function notes(found, attempts) {
  const said = [];
  if (!found.path) said.push("This run has no record here: another recorder took it, or its file was moved. What is shown is from its run set.");
  if (found.state === "died") said.push(`No process runs it, and it did not finish.${found.has_state ? "" : " Its run set is gone, so it cannot be resumed: what is shown is what its record has."}`);
  if (found.path && attempts && attempts === (found.verdicts["no match"] || 0)) said.push("This eval records no match: its result is what its own summary says.");
  return said.map((text) => h("p.note", {}, text));
}

function summary(box, key, found) {
  const open = new Set([...box.querySelectorAll("details[open]")].map((one) => one.dataset.name));
  const to = (query) => `#/run/${encodeURIComponent(key)}/samples?${new URLSearchParams(query)}`;
  const counts = found.verdicts || {};
  const attempts = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const folded = (name, ...content) => h("details.panel.folded", { "data-name": name, open: open.has(name) }, h("summary", {}, h("h2", {}, name)), content);
  replace(box,
    notes(found, attempts),
    result(found, attempts),
    Object.entries(groupsOf(found)).map(([field, rows]) => groups(field, rows, found.path ? to : null)),
    attempts || found.path ? verdicts(found, counts, attempts, to) : null,
    found.errors.length ? h("section.panel", {}, h("h2", {}, "Errors by kind"), h("p.muted", {}, [counts.error ? `${counted(counts.error, "attempt")} failed and ${counts.error === 1 ? "was" : "were"} retried` : "", counts.lost ? `${number(counts.lost)} failed for good` : ""].filter(Boolean).join(", ")), h("table.kinds", {}, h("tbody", {}, found.errors.map((one) => h("tr", {}, h("td.num", {}, number(one.count)), h("td", {}, h("a", { href: to({ verdict: "with errors", q: one.kind }) }, written(one.kind, "code"))), h("td", {}, written(one.example))))))) : null,
    found.calibration || found.lengths.length ? folded("Calibration and length", h("div.two-columns", {},
      found.calibration ? h("div", {}, calibrationPlot(found.calibration.calibration_bins, "Calibration"), h("p.muted", {}, `Brier score ${number(found.calibration.brier, 3)} · expected calibration error ${number(found.calibration.ece, 3)} · ${number(found.calibration.calibration_n)} attempts with a probability`)) : null,
      found.lengths.length ? fitted((width) => lengthPlot(found.lengths, "Score by length of the reply", width)) : null)) : null,
    found.final_report ? folded("The whole summary", h("div.reported", {}, written(JSON.stringify(found.final_report, null, 2), "pre"))) : null);
}

const MOST_METRICS = 12;

// Metric, value ± error, interval and n, as the terminal has them at the end of a run.
function result(found, attempts) {
  let rows = found.metrics.filter((one) => !one.field);
  const score = found.score || {};
  if (!rows.length && score.mean !== undefined) rows = [{ name: "score so far", value: score.mean, stderr: score.stderr, low: score.low, high: score.high, n: score.n, why: score.why }];
  else if (rows.length && score.mean !== undefined && rows[0].low === null && Math.abs(rows[0].value - score.mean) < 1e-9) rows[0] = { ...rows[0], ...score, value: rows[0].value };
  const asked = `${counted(score.n ?? found.n ?? found.total ?? 0, "question")}${attempts ? ` · ${counted(attempts, "attempt")}` : ""}`;
  if (!rows.length) return h("section.panel.result", {}, h("h2", {}, "Result"), h("p.muted", {}, isGoing(found.state) ? "Nothing is scored yet." : "No score was recorded, and no summary with a number."), h("p.muted.num", {}, asked));
  const [first] = rows;
  return h("section.panel.result", {},
    h("div.headline", {}, h("span.headline-value.num", {}, metric(first.value)), h("span.headline-name", {}, written(first.name), first.low === null || first.low === undefined ? null : h("span.muted.num", {}, ` 95 % ${interval(first.low, first.high, isShare(first.value))}`)), h("span.spacer"), h("span.muted.num", {}, asked)),
    h("div.metrics-box", {}, h("table.metrics", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Metric"), h("th.num", { scope: "col" }, "Value"), h("th.num", { scope: "col" }, "± error"), h("th.num", { scope: "col" }, "95 % interval"), h("th.num", { scope: "col" }, "n"))),
      h("tbody", {}, rows.slice(0, MOST_METRICS).map((one) => h("tr", {},
        h("td", {}, written(one.name)),
        h("td.num", {}, h("b", {}, metric(one.value))),
        h("td.num", {}, one.stderr === null || one.stderr === undefined ? "" : isShare(one.value) ? (100 * one.stderr).toFixed(1) : metric(one.stderr, false)),
        h("td.num", { title: one.why || undefined }, one.low === null || one.low === undefined ? "" : interval(one.low, one.high, isShare(one.value))),
        h("td.num", {}, one.n === null || one.n === undefined ? "" : number(one.n))))))),
    rows.length > MOST_METRICS ? h("p.muted", {}, `and ${number(rows.length - MOST_METRICS)} more in the whole summary`) : null);
}

// By field, those of the eval's own summary first: the groups of the record's attempts, and those that
// only the summary has.
function groupsOf(found) {
  const own = found.metrics.filter((row) => row.field);
  const groups = { ...Object.fromEntries(own.map((row) => [row.field, found.groups[row.field]])), ...found.groups };
  for (const one of own.filter((row) => !found.groups[row.field])) {
    groups[one.field] = [...(groups[one.field] || []), { value: one.value_of_field, mean: one.value, low: one.low, high: one.high, n: one.n }];
  }
  return groups;
}

function groups(field, rows, to) {
  const sorted = [...rows].sort((a, b) => (b.mean ?? -1) - (a.mean ?? -1));
  const means = rows.map((row) => row.mean ?? 0);
  const range = means.every(isShare) ? {} : { min: Math.min(0, ...means), max: Math.max(...means) };
  return h("section.panel", {}, h("h2", {}, "By ", written(field, "code")),
    dotPlot(sorted.map((row) => ({ ...row, name: written(row.value), text: metric(row.mean), note: [row.low === null || row.low === undefined ? "" : interval(row.low, row.high, isShare(row.mean)), row.n ? `n ${number(row.n)}` : ""].filter(Boolean).join(" · "), href: to ? to({ field, value: row.value }) : null })), { label: `Score by ${field}`, ...range }));
}

function verdicts(found, counts, attempts, to) {
  const known = VERDICTS.filter((name) => counts[name]);
  const bar = h("div.progress.verdicts", { role: "img", "aria-label": known.map((name) => `${counts[name]} ${name}`).join(", ") });
  for (const name of known) {
    const part = h("span", { class: verdictClass(name), title: `${number(counts[name])} ${name}` });
    part.style.width = (100 * counts[name]) / Math.max(1, attempts) + "%";
    bar.append(part);
  }
  return h("section.panel", {}, h("h2", {}, "Attempts"),
    attempts ? bar : h("p.muted", {}, `No attempt is in the record${isGoing(found.state) ? " yet" : ""}.`),
    h("div.verdict-links", {}, known.map((name) => h("a", { href: to({ verdict: name }) }, verdictTag(name), " ", h("b.num", {}, number(counts[name])), h("span.muted.num", {}, ` ${percent(counts[name] / attempts)}`)))),
    found.index?.bad_lines ? h("p.note.warn", {}, `${number(found.index.bad_lines)} lines of the record could not be read and are left out.`) : null);
}
