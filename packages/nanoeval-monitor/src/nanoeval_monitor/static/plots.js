// Plots as SVG, drawn to the width they get. Colours come from the style sheet.

import { s, h } from "./dom.js";
import { short } from "./format.js";

// As wide as it will be shown: on a narrow screen the same drawing made smaller could not be read.
const drawnWidth = () => Math.max(260, Math.min(560, document.documentElement.clientWidth - 56));

const nice = (max) => {
  if (!(max > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(max));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= max * 1.0001) || max;
};

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
 * @param options {height, format, min, max, label, formatX}
 */
export function timePlot(series, options) {
  const width = drawnWidth();
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
  const y0 = options.fit ? Math.max(0, Math.min(...lows) - 0.02) : 0;
  const y1 = options.fit ? Math.min(1, Math.max(...highs) + 0.02) : options.max || nice(Math.max(...highs));
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => top + (1 - (y - y0) / (y1 - y0 || 1)) * (height - top - bottom);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.label, class: "plot-svg" });
  for (const share of [0, 0.5, 1]) {
    const y = y0 + share * (y1 - y0);
    svg.append(s("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }));
    svg.append(s("text", { class: "tick", x: left - 6, y: py(y) + 3.5, "text-anchor": "end" }, options.format(y)));
  }
  svg.append(s("text", { class: "tick", x: left, y: height - 5 }, options.formatX(x0)));
  svg.append(s("text", { class: "tick", x: width - right, y: height - 5, "text-anchor": "end" }, options.formatX(x1)));
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
    svg.append(s("text", { class: "tick", x: edge - 6, y: q(tick) + 3.5, "text-anchor": "end" }, 100 * tick));
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

/** Bars with a value over bins of lengths; the shade says how many are in each. */
export function lengthPlot(bins, label) {
  const width = drawnWidth();
  const height = 180;
  const left = 40;
  const bottom = 34;
  const top = 8;
  const most = Math.max(...bins.map((bin) => bin.n), 1);
  const step = (width - left - 8) / bins.length;
  const y = (value) => top + (1 - value) * (height - top - bottom);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "plot-svg" });
  let tickEnd = 0;
  let lastTick = "";
  for (const tick of [0, 0.5, 1]) {
    svg.append(s("line", { class: "grid", x1: left, x2: width - 8, y1: y(tick), y2: y(tick) }));
    svg.append(s("text", { class: "tick", x: left - 6, y: y(tick) + 3.5, "text-anchor": "end" }, 100 * tick + "%"));
  }
  bins.forEach((bin, index) => {
    const x = left + index * step;
    const crowd = (height - top - bottom) * (bin.n / most);
    const count = s("rect", { class: "crowd", x: x + 1, width: step - 2, y: height - bottom - crowd, height: crowd });
    count.append(s("title", {}, `${bin.n} attempts with ${bin.low} to ${bin.high} characters`));
    svg.append(count);
    if (bin.mean !== null) {
      const mark = s("line", { class: "line two", x1: x + 3, x2: x + step - 3, y1: y(bin.mean), y2: y(bin.mean) });
      mark.append(s("title", {}, `score ${(100 * bin.mean).toFixed(1)} % of ${bin.n}`));
      svg.append(mark);
    }
    const text = short(bin.low);
    if (text === lastTick || x < tickEnd) return;
    svg.append(s("text", { class: "tick", x, y: height - bottom + 14 }, text));
    lastTick = text;
    tickEnd = x + 8 * text.length + 12;
  });
  return h("figure.plot", {}, h("figcaption", {}, h("span.plot-title", {}, label), h("span.legend two", {}, "score"), h("span.legend crowd", {}, "attempts")), svg, h("div.axis", {}, "characters in the reply"));
}
