// One recorded run: its summary, and its samples.

import { h, replace, written } from "./dom.js";
import { data } from "./data.js";
import { OUTCOMES, bytes, interval, moment, number, percent } from "./format.js";
import { tile } from "./parts.js";
import { calibrationPlot, dotPlot, lengthPlot } from "./plots.js";
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
  const attempts = found.index.attempts ?? 0;
  if (found.index.complete && found.is_complete && (attempts < 10000 || found.details_of === attempts)) return;
  const wait = found.index.complete && !found.is_complete ? 3000 : 500;
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
  }, wait);
}

function draw(main, key, found) {
  const url = `#/run/${encodeURIComponent(key)}`;
  replace(main,
    h("div.run", { "data-key": key },
      h("section.run-head", {}),
      h("nav.tabs", { "aria-label": "Parts of the run" }, [["summary", "Summary", url], ["samples", "Samples", `${url}/samples`], ["spec", "What was run", `${url}/spec`]].map(([tab, name, href]) => h("a", { href, "data-tab": tab }, name))),
      h("p.reading.note", { role: "status", hidden: true }),
      h("div", { "data-section": "summary" }),
      h("div", { "data-section": "samples", hidden: true }),
      h("div", { "data-section": "spec", hidden: true })));
  fill(main, key, found);
}

function fill(main, key, found) {
  const spec = found.spec || {};
  const model = spec.completion_fns?.[0] || spec.model_name || "";
  const name = spec.eval_name || key;
  document.title = `nanoeval · ${name}`;
  replace(main.querySelector(".run-head"),
    h("div.title-row", {}, h("h1", { title: name }, written(name)), h("span", { class: "pill " + (found.is_complete ? "over" : "stopped") }, found.is_complete ? "finished" : "unfinished")),
    h("div.muted", {}, [model, moment(spec.created_at), spec.created_by, key].filter(Boolean).map((text, index) => [index ? " · " : "", written(text)])));
  const reading = main.querySelector(".reading");
  reading.hidden = found.index.complete !== false;
  reading.textContent = `Reading the record: ${bytes(found.index.bytes_read)} of ${bytes(found.index.bytes)}. What is shown is what was read so far.`;
  summary(main.querySelector('[data-section="summary"]'), key, found);
  replace(main.querySelector('[data-section="spec"]'),
    h("section.panel", {}, h("h2", {}, "What was run"), h("p.muted", {}, "The record: ", h("code", {}, written(found.path || ""))), written(JSON.stringify(spec, null, 2), "pre")),
    h("section.panel", {}, h("h2", {}, "Final report"), found.final_report === null ? h("p.muted", {}, "The run has not finished.") : written(JSON.stringify(found.final_report, null, 2), "pre")));
}

function summary(box, key, found) {
  const to = (query) => `#/run/${encodeURIComponent(key)}/samples?${new URLSearchParams(query)}`;
  const score = found.score || {};
  const counts = found.outcomes;
  const attempts = Object.keys(OUTCOMES).reduce((sum, name) => sum + (counts[name] || 0), 0);
  replace(box,
    h("div.tiles.big", {},
      tile("Score", percent(score.mean), score.mean === undefined ? "no scored answers" : score.low === null ? score.why : `95 % interval ${interval(score.low, score.high)}`),
      tile("Standard error", score.stderr === undefined || score.stderr === null ? "–" : (100 * score.stderr).toFixed(2), "points, clustered by question"),
      tile("Questions", number(score.n ?? 0), `${number(attempts)} attempts`),
      tile("Unparsable", number(counts.unparsable || 0), attempts ? `${percent((counts.unparsable || 0) / attempts)} of attempts` : ""),
      tile("Errored", number(counts.errored || 0), "attempts with errors")),
    h("section.panel", {}, h("h2", {}, "Outcomes"), attempts ? outcomeBar(counts, attempts) : h("p.muted", {}, `No attempt is in the record${found.is_complete ? "" : " yet"}.`),
      h("div.outcome-links", {}, Object.entries(OUTCOMES).filter(([name]) => counts[name]).map(([name, label]) => h("a", { href: to({ outcome: name }), class: "outcome " + name }, `${label} `, h("b.num", {}, number(counts[name]))))),
      found.index.bad_lines ? h("p.note.warn", {}, `${number(found.index.bad_lines)} lines of the record could not be read and are left out.`) : null),
    reported(found.final_report),
    Object.entries(found.groups).map(([field, rows]) => groups(field, rows, to)),
    h("div.two-columns", {},
      found.calibration ? h("section.panel", {}, calibrationPlot(found.calibration.calibration_bins, "Calibration"), h("p.muted", {}, `Brier score ${number(found.calibration.brier, 3)} · expected calibration error ${number(found.calibration.ece, 3)} · ${number(found.calibration.calibration_n)} attempts with a probability`)) : null,
      found.lengths.length ? h("section.panel", {}, lengthPlot(found.lengths, "Score by length of the reply")) : null),
    found.errors.length ? h("section.panel", {}, h("h2", {}, "Errors by kind"), h("table.kinds", {}, h("tbody", {}, found.errors.map((one) => h("tr", {}, h("td.num", {}, number(one.count)), h("td", {}, h("a", { href: to({ outcome: "errored", q: one.kind }) }, written(one.kind, "code"))), h("td", {}, written(one.example))))))) : null);
}

const MOST_REPORTED = 60;

// The numbers of the final report, whatever the eval calls them; the rest of it is in its own tab.
function reported(report) {
  const found = [];
  const collect = (value, path, depth) => {
    for (const [name, one] of Object.entries(value)) {
      if (typeof one === "number") found.push([[...path, name].join("."), one]);
      else if (depth < 2 && one && typeof one === "object" && !Array.isArray(one)) collect(one, [...path, name], depth + 1);
    }
  };
  if (report && typeof report === "object" && !Array.isArray(report)) collect(report, [], 0);
  if (!found.length) return null;
  return h("section.panel.reported", {}, h("h2", {}, "Final report"),
    h("dl.facts", {}, found.slice(0, MOST_REPORTED).map(([name, value]) => h("div", {}, h("dt", {}, written(name)), h("dd.num", {}, Number.isInteger(value) ? number(value) : value.toLocaleString("en", { maximumSignificantDigits: 4 }))))),
    found.length > MOST_REPORTED ? h("p.muted.small", {}, `and ${number(found.length - MOST_REPORTED)} more, under “What was run”`) : null);
}

function groups(field, rows, to) {
  const sorted = [...rows].sort((a, b) => (b.mean ?? -1) - (a.mean ?? -1));
  return h("section.panel", {}, h("h2", {}, "Score by ", written(field, "code")),
    dotPlot(sorted.map((row) => ({ ...row, name: written(row.value), text: percent(row.mean), note: `${interval(row.low, row.high)} · n ${number(row.n)}`, href: to({ field, value: row.value }) })), { label: `Score by ${field}` }));
}

function outcomeBar(counts, attempts) {
  const bar = h("div.progress.outcomes", { role: "img", "aria-label": Object.entries(OUTCOMES).map(([name, label]) => `${counts[name] || 0} ${label}`).join(", ") });
  for (const name of Object.keys(OUTCOMES).filter((one) => counts[one])) {
    const part = h("span", { class: name, title: `${number(counts[name] || 0)} ${OUTCOMES[name]}` });
    part.style.width = (100 * (counts[name] || 0)) / Math.max(1, attempts) + "%";
    bar.append(part);
  }
  return bar;
}
