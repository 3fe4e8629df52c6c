// Plots as SVG, drawn to the width they get. Colors come from the style sheet.

import { s, h } from "./dom.js";
import { short } from "./format.js";

// Calls `draw` with the width that the plot has on the page, now and when that changes: texts in it
// are then as large as those around it.
export function fitted(draw) {
  const box = h("div.fitted");
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width < 40 || width === drawn) return;
    drawn = width;
    box.replaceChildren(draw(width));
  }).observe(box);
  return box;
}

// Round numbers from at most `low` to at least `high`, some four of them.
export function ticks(low, high, about = 4) {
  if (!(high > low)) high = low + 1;
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.9999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

const CLOCK_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

// Round times of day between two moments (seconds), at most `most` of them.
export function clockTicks(start, end, most, offset = -60 * new Date(start * 1000).getTimezoneOffset()) {
  const step = CLOCK_STEPS.find((one) => (end - start) / one <= most) || 86400 * Math.ceil((end - start) / 86400 / most);
  const found = [];
  for (let at = Math.ceil((start + offset) / step) * step - offset; at <= end; at += step) found.push(at);
  return found;
}

const path = (pairs) => pairs.map(([x, y], index) => (index ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("");

// Runs of points without a gap.
function pieces(values) {
  const found = [];
  let piece = [];
  for (const value of values) {
    if (value === null) {
      if (piece.length) found.push(piece);
      piece = [];
    } else piece.push(value);
  }
  if (piece.length) found.push(piece);
  return found;
}

/**
 * Lines over time.
 * @param series [{name, class, points: [[x, y or null]], band: [[x, low, high]], area}]
 * @param options {height, format, fit, label, formatX, empty}
 */
export function timePlot(series, options, width) {
  const height = options.height || 150;
  const left = 46;
  const right = 8;
  const top = 8;
  const bottom = 20;
  const all = series.flatMap((one) => one.points).filter(([, y]) => y !== null && y !== undefined);
  const figure = h("figure.plot", {});
  const legend = h("figcaption", {}, h("span.plot-title", {}, options.label), series.length > 1 ? series.map((one) => h("span.legend " + one.class, {}, one.name)) : null);
  figure.append(legend);
  if (all.length < 2) {
    figure.append(h("div.plot-empty", { style: undefined }, options.empty || "waiting for data"));
    return figure;
  }
  const xs = series.flatMap((one) => one.points.map(([x]) => x));
  const x0 = Math.min(...xs);
  const x1 = Math.max(...xs, x0 + 1);
  const highs = [...all.map(([, y]) => y), ...series.flatMap((one) => (one.band || []).map((b) => b[2] ?? 0))];
  const lows = [...all.map(([, y]) => y), ...series.flatMap((one) => (one.band || []).map((b) => b[1] ?? 1))];
  const marks = options.fit ? ticks(Math.max(0, Math.min(...lows) - 0.02), Math.min(1, Math.max(...highs) + 0.02)) : ticks(0, Math.max(...highs) || 1);
  const [y0, y1] = [marks[0], marks.at(-1)];
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => top + (1 - (y - y0) / (y1 - y0 || 1)) * (height - top - bottom);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.label, class: "plot-svg" });
  for (const y of marks) {
    svg.append(s("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }));
    svg.append(s("text", { class: "tick", x: left - 6, y: py(y) + 4, "text-anchor": "end" }, options.format(y)));
  }
  for (const x of clockTicks(x0, x1, Math.max(2, Math.floor(width / 110)))) {
    const anchor = px(x) > width - 40 ? "end" : px(x) < left + 30 ? "start" : "middle";
    svg.append(s("text", { class: "tick", x: px(x), y: height - 5, "text-anchor": anchor }, options.formatX(x)));
  }
  for (const one of series) {
    if (one.band && one.band.length > 1) {
      const known = one.band.filter(([, low]) => low !== null && low !== undefined);
      const outline = [...known.map(([x, , high]) => [px(x), py(high)]), ...known.reverse().map(([x, low]) => [px(x), py(low)])];
      svg.append(s("path", { class: "band " + one.class, d: path(outline) + "Z" }));
    }
    for (const piece of pieces(one.points.map(([x, y]) => (y === null || y === undefined ? null : [px(x), py(Math.min(y, y1))])))) {
      if (one.area && piece.length > 1) {
        const base = [[piece.at(-1)[0], py(y0)], [piece[0][0], py(y0)]];
        svg.append(s("path", { class: "area " + one.class, d: path([...piece, ...base]) + "Z" }));
      }
      svg.append(s("path", { class: "line " + one.class, d: path(piece) }));
    }
  }
  figure.append(svg);
  return figure;
}

/**
 * Estimates with intervals, one under the other.
 * @param rows [{name, mean, low, high, n, href}]
 */
export function dotPlot(rows, options = {}) {
  const figure = h("div.dots", { role: "table", "aria-label": options.label });
  const min = options.min ?? 0;
  const max = options.max ?? 1;
  const share = (value) => (100 * (Math.min(max, Math.max(min, value)) - min)) / (max - min);
  for (const row of rows) {
    const svg = s("svg", { class: "dot-svg", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const tick of options.ticks || [0, 25, 50, 75, 100]) svg.append(s("line", { class: "grid", x1: tick, x2: tick, y1: 0, y2: 10 }));
    if (row.low !== null && row.low !== undefined) {
      svg.append(s("rect", { class: "range", x: share(row.low), width: Math.max(0.4, share(row.high) - share(row.low)), y: 3.5, height: 3, rx: 0.5 }));
    }
    if (row.mean !== null && row.mean !== undefined) svg.append(s("rect", { class: "dot", x: share(row.mean) - 0.45, width: 0.9, y: 1, height: 8, rx: 0.3 }));
    figure.append(
      h("div.dot-row", { role: "row" },
        h("span.dot-name", { role: "cell" }, row.href ? h("a", { href: row.href }, row.name) : row.name),
        h("span.dot-plot", { role: "cell" }, svg),
        h("span.dot-value.num", { role: "cell" }, row.text),
        h("span.dot-n.num", { role: "cell" }, row.note || "")),
    );
  }
  return figure;
}

/** How well probabilities match outcomes: dots at (mean probability, accuracy), sized by count. */
export function calibrationPlot(bins, label) {
  const size = 260;
  const edge = 34;
  const inner = size - edge - 10;
  const p = (value) => edge + value * inner;
  const q = (value) => 10 + (1 - value) * inner;
  const most = Math.max(...bins.map((bin) => bin.n));
  const svg = s("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label, class: "plot-svg square" });
  for (const tick of [0, 0.5, 1]) {
    svg.append(s("line", { class: "grid", x1: p(0), x2: p(1), y1: q(tick), y2: q(tick) }));
    svg.append(s("line", { class: "grid", x1: p(tick), x2: p(tick), y1: q(0), y2: q(1) }));
    svg.append(s("text", { class: "tick", x: edge - 6, y: q(tick) + 4, "text-anchor": "end" }, 100 * tick));
    svg.append(s("text", { class: "tick", x: p(tick), y: size - 10, "text-anchor": "middle" }, 100 * tick));
  }
  svg.append(s("line", { class: "diagonal", x1: p(0), y1: q(0), x2: p(1), y2: q(1) }));
  svg.append(s("path", { class: "line one", d: path(bins.map((bin) => [p(bin.mean_probability), q(bin.accuracy)])) }));
  for (const bin of bins) {
    const dot = s("circle", { class: "mark one", cx: p(bin.mean_probability), cy: q(bin.accuracy), r: 2.5 + 5 * Math.sqrt(bin.n / most) });
    dot.append(s("title", {}, `${bin.n} attempts, said ${(100 * bin.mean_probability).toFixed(0)} %, were right ${(100 * bin.accuracy).toFixed(0)} %`));
    svg.append(dot);
  }
  return h("figure.plot", {}, h("figcaption", {}, h("span.plot-title", {}, label)), svg, h("div.axis", {}, "stated probability, % → accuracy, %"));
}

/** Scores over bins of lengths, and how many attempts are in each, on an axis of their own. */
export function lengthPlot(bins, label, width) {
  const height = 190;
  const left = 46;
  const right = 46;
  const bottom = 24;
  const top = 8;
  const counts = ticks(0, Math.max(...bins.map((bin) => bin.n), 1));
  const scores = bins.map((bin) => bin.mean).filter((mean) => mean !== null);
  const shares = scores.every((one) => one >= 0 && one <= 1);
  const marks = shares ? [0, 0.25, 0.5, 0.75, 1] : ticks(Math.min(0, ...scores), Math.max(...scores));
  const step = (width - left - right) / bins.length;
  const inner = height - top - bottom;
  const y = (value) => top + (1 - (value - marks[0]) / (marks.at(-1) - marks[0])) * inner;
  const tall = (n) => (inner * n) / counts.at(-1);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "plot-svg" });
  for (const tick of marks) {
    svg.append(s("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
    svg.append(s("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, shares ? 100 * tick + "%" : short(tick)));
  }
  for (const tick of counts) svg.append(s("text", { class: "tick count", x: width - right + 6, y: height - bottom - tall(tick) + 4 }, short(tick)));
  let tickEnd = 0;
  let lastTick = "";
  bins.forEach((bin, index) => {
    const x = left + index * step;
    const count = s("rect", { class: "crowd", x: x + 1, width: Math.max(1, step - 2), y: height - bottom - tall(bin.n), height: tall(bin.n) });
    count.append(s("title", {}, `${bin.n} attempts with ${bin.low} to ${bin.high} characters`));
    svg.append(count);
    if (bin.mean !== null) {
      const mark = s("line", { class: "line two", x1: x + 3, x2: x + step - 3, y1: y(bin.mean), y2: y(bin.mean) });
      mark.append(s("title", {}, `score ${shares ? (100 * bin.mean).toFixed(1) + " %" : short(bin.mean)} of ${bin.n}`));
      svg.append(mark);
    }
    const text = short(bin.low);
    if (text === lastTick || x < tickEnd) return;
    svg.append(s("text", { class: "tick", x, y: height - bottom + 16 }, text));
    lastTick = text;
    tickEnd = x + 8 * text.length + 12;
  });
  return h("figure.plot", {}, h("figcaption", {}, h("span.plot-title", {}, label), h("span.legend two", {}, "score, left"), h("span.legend crowd", {}, "attempts, right")), svg, h("div.axis", {}, "characters in the reply"));
}
