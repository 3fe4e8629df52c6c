import assert from "node:assert/strict";
import { test } from "node:test";
import { clockTicks, ticks } from "../../src/nanoeval_monitor/static/plots.js";

test("ticks are round, few, and hold all values", () => {
  assert.deepEqual(ticks(0, 96), [0, 25, 50, 75, 100]);
  assert.deepEqual(ticks(0, 263), [0, 100, 200, 300]);
  assert.deepEqual(ticks(0, 1), [0, 0.25, 0.5, 0.75, 1]);
  assert.deepEqual(ticks(0, 0), [0, 0.25, 0.5, 0.75, 1]);
  for (let high = 0.0007; high < 1e9; high *= 1.7) {
    const found = ticks(0, high);
    assert.ok(found.at(-1) >= high && found[0] === 0 && found.length >= 3 && found.length <= 7, `${high}: ${found}`);
    for (const one of found) assert.ok(String(one).replace(/^0\.0*|\D/g, "").replace(/0+$/, "").length <= 3, `${one}`);
  }
  const [first, last] = [ticks(0.61, 0.78)[0], ticks(0.61, 0.78).at(-1)];
  assert.ok(first <= 0.61 && last >= 0.78);
});

test("times are round on the clock", () => {
  const start = Date.UTC(2026, 0, 1, 10, 0, 7) / 1000;
  const found = clockTicks(start, start + 95, 4, 0).map((at) => new Date(at * 1000).toISOString().slice(11, 19));
  assert.deepEqual(found, ["10:00:30", "10:01:00", "10:01:30"]);
  assert.ok(clockTicks(start, start + 30 * 86400, 5, 0).length <= 6);
});
