// Numbers, times and sizes as people read them.

export const number = (value, digits = 0) =>
  value === null || value === undefined
    ? "–"
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return (value / 1e9).toFixed(size >= 1e10 ? 0 : 1) + "B";
  if (size >= 1e6) return (value / 1e6).toFixed(size >= 1e7 ? 0 : 1) + "M";
  if (size >= 1e4) return (value / 1e3).toFixed(size >= 1e5 ? 0 : 1) + "k";
  if (size >= 100 || Number.isInteger(value)) return number(Math.round(value));
  return value.toFixed(size >= 10 ? 1 : 2);
}

export const percent = (value, digits = 1) =>
  value === null || value === undefined ? "–" : (100 * value).toFixed(digits) + "%";

export function points(value, digits = 1) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(100 * value).toFixed(digits);
  return (value > 0 ? "+" : value < 0 ? "−" : "±") + text;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return "0 s";
  if (seconds < 0.9995) return Math.round(seconds * 1000) + " ms";
  if (seconds < 9.95) return seconds.toFixed(1) + " s";
  const whole = Math.round(seconds);
  if (whole < 90) return whole + " s";
  if (whole < 5400) return Math.floor(whole / 60) + " min " + String(whole % 60).padStart(2, "0") + " s";
  if (whole < 172800) return (whole / 3600).toFixed(1) + " h";
  return (whole / 86400).toFixed(1) + " d";
}

// Money, to two digits that say something.
export const cost = (value) => value.toLocaleString("en", value >= 1 ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumSignificantDigits: 2 });

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [limit, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (value >= limit) return (value / limit).toFixed(value >= 10 * limit ? 0 : 1) + " " + unit;
  }
  return value + " B";
}

export function moment(text) {
  const date = typeof text === "number" ? new Date(text * 1000) : new Date(text);
  if (!text || Number.isNaN(date.getTime())) return text || "–";
  const pad = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

export const clock = (seconds) => moment(seconds).slice(11) + ":" + String(new Date(seconds * 1000).getSeconds()).padStart(2, "0");

export const interval = (low, high, share = true) =>
  low === null || low === undefined ? "" : share ? `${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)}` : `${metric(low, false)} – ${metric(high, false)}`;

// A metric: a share as percent, any other number as it is.
export const isShare = (value) => value >= 0 && value <= 1;
export const metric = (value, share = isShare(value)) =>
  value === null || value === undefined ? "–" : share ? percent(value) : value.toLocaleString("en", { maximumSignificantDigits: 4 });

// "1 attempt", "2 attempts".
export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

// What attempts come to, in the order of bars and filters.
export const VERDICTS = ["right", "partly right", "wrong", "unparsable", "refused", "error", "lost", "no match"];
export const VERDICT_MEANS = {
  "partly right": "a score between 0 and 1",
  error: "failed, and was retried",
  lost: "failed at its last attempt: it has no score",
  "no match": "ended well; its eval records no match for it",
};
export const verdictClass = (verdict) => "verdict v-" + verdict.replace(" ", "-");
