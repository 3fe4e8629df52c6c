// Two or more runs on the same questions: the first is the baseline.

import { h, replace, written } from "./dom.js";
import { data } from "./data.js";
import { interval, number, percent, points } from "./format.js";
import { dotPlot } from "./plots.js";

export async function compare({ main, query }) {
  const keys = (query.get("runs") || "").split(",").filter(Boolean);
  if (keys.length < 2) throw new Error("Choose two or more runs in the table of runs, then compare them.");
  const found = await data.compare(keys);
  document.title = "nanoeval · compare";
  const names = new Map(found.runs.map((run) => [run.key, nameOf(run)]));
  const means = new Map();
  for (const pair of found.pairs) {
    means.set(found.baseline, pair.a);
    means.set(pair.key, pair.b);
  }
  replace(main,
    h("div.compare", {},
      h("section.run-head", {}, h("h1", {}, "Compare"), h("p.muted", {}, "Differences are of the same questions, against the baseline: ", written(names.get(found.baseline), "strong"))),
      h("section.panel", {}, h("h2", {}, "Scores"),
        dotPlot(keys.map((key) => ({ ...means.get(key), name: h("span", {}, written(names.get(key)), key === found.baseline ? h("span.tag", {}, "baseline") : null), href: `#/run/${encodeURIComponent(key)}`, text: percent(means.get(key)?.mean), note: means.get(key) ? `${interval(means.get(key).low, means.get(key).high)} · n ${number(means.get(key).n)}` : "" })), { label: "Scores" })),
      found.pairs.map((pair) => panel(found, pair, names, keys))));
}

function nameOf(run) {
  const spec = run.spec || {};
  return [spec.completion_fns?.[0] || spec.eval_name || run.key, spec.completion_fns ? spec.eval_name : ""].filter(Boolean).join(" · ");
}

const chance = (p) => (p === undefined || p === null ? "–" : p < 0.0001 ? "< 0.0001" : number(p, 4));

const verdict = (pair) => {
  if (pair.low === undefined || pair.low === null) return ["unknown", pair.why || "no interval"];
  if (pair.low > 0) return ["better", "better: the interval is above 0"];
  if (pair.high < 0) return ["worse", "worse: the interval is below 0"];
  return ["unclear", "no clear difference: the interval holds 0"];
};

function panel(found, pair, names, keys) {
  const [kind, says] = verdict(pair);
  const several = keys.length > 2;
  return h("section.panel.pair", { "data-key": pair.key },
    h("h2", {}, written(names.get(pair.key)), several ? h("span.muted", {}, " against the baseline") : null),
    h("div.difference", { class: kind },
      h("span.difference-value.num", {}, points(pair.difference)),
      h("span.difference-unit", {}, "points"),
      h("span.num", {}, pair.low === undefined ? "" : `95 %: ${points(pair.low)} to ${points(pair.high)}`),
      h("span.says", {}, says)),
    ruler(pair),
    h("dl.facts", {}, [
      ["questions in common", number(pair.n)],
      ["only in one of the runs", number(pair.left_out)],
      ["better on", number(pair.wins)],
      ["worse on", number(pair.losses)],
      ["the same on", number(pair.ties)],
      ["p", chance(pair.p_value)],
      several ? ["p, for all pairs (Holm)", chance(pair.adjusted_p_value)] : null,
      [`exact ${pair.exact_test} p`, chance(pair.exact_p_value)],
    ].filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd.num", {}, value)))),
    h("div.two-columns", {}, flips("Improved", pair.improved, pair.wins, found.baseline, pair.key), flips("Worsened", pair.worsened, pair.losses, found.baseline, pair.key)));
}

function ruler(pair) {
  if (pair.low === undefined) return null;
  const most = Math.max(0.02, Math.abs(pair.low), Math.abs(pair.high)) * 1.15;
  return dotPlot([{ name: "difference", mean: pair.difference, low: pair.low, high: pair.high, text: "", note: "" }], { min: -most, max: most, ticks: [50], label: "Difference and its interval" });
}

function flips(title, changes, total, baseline, key) {
  return h("div.flips", {},
    h("h3", {}, `${title} `, h("span.muted.num", {}, number(total))),
    changes.length ? h("ul", {}, changes.map((change) => h("li", { tabindex: "0", "data-row": true },
      h("a", { href: `#/run/${encodeURIComponent(key)}/samples?${new URLSearchParams({ sample: change.question_id })}` }, written(change.question_id)),
      h("span.num.muted", {}, ` ${percent(change.mean_a, 0)} → ${percent(change.mean_b, 0)} `),
      h("a.small", { href: `#/run/${encodeURIComponent(baseline)}/samples?${new URLSearchParams({ sample: change.question_id })}` }, "baseline's")))) : h("p.muted", {}, "none"),
    total > changes.length ? h("p.muted", {}, `and ${number(total - changes.length)} more`) : null);
}
