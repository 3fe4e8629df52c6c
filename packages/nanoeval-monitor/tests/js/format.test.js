import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, cost, counted, duration, interval, metric, moment, percent, points, short, verdictClass } from "../../src/nanoeval_monitor/static/format.js";

test("durations are rounded before they are cut into units", () => {
  const cases = [[null, "–"], [0, "0 s"], [0.0123, "12 ms"], [0.9996, "1.0 s"], [9.96, "10 s"], [89.4, "89 s"], [89.6, "1 min 30 s"], [419.7, "7 min 00 s"], [359.6, "6 min 00 s"], [5399.7, "1.5 h"], [7200, "2.0 h"], [200000, "2.3 d"]];
  for (const [seconds, text] of cases) assert.equal(duration(seconds), text);
  for (let seconds = 0; seconds < 6000; seconds += 0.3) assert.doesNotMatch(duration(seconds), /min 60 s|1000 ms/);
});

test("metrics are shares or numbers as they are", () => {
  assert.equal(metric(0.567), "56.7%");
  assert.equal(metric(68.25), "68.25");
  assert.equal(metric(-0.5), "-0.5");
  assert.equal(metric(undefined), "–");
  assert.equal(interval(0.421, 0.702), "42.1–70.2");
  assert.equal(interval(65.8, 70.7, false), "65.8 – 70.7");
  assert.equal(interval(null, null), "");
});

test("numbers are short and plurals right", () => {
  assert.equal(short(1234567), "1.2M");
  assert.equal(short(123456), "123k");
  assert.equal(short(2.5e9), "2.5B");
  assert.equal(short(18300), "18.3k");
  assert.equal(percent(null), "–");
  assert.equal(points(-0.031), "−3.1");
  assert.equal(bytes(2_500_000), "2.5 MB");
  assert.equal(cost(0.0054), "0.0054");
  assert.equal(cost(12.5), "12.50");
  assert.equal(counted(1, "attempt"), "1 attempt");
  assert.equal(counted(1200, "attempt"), "1,200 attempts");
  assert.equal(moment("no time"), "no time");
  assert.equal(verdictClass("partly right"), "verdict v-partly-right");
});
