import assert from "node:assert/strict";
import { test } from "node:test";
import { newMessages } from "../../src/nanoeval_monitor/static/messages.js";

const user = (content) => ({ role: "user", content });
const assistant = (content) => ({ role: "assistant", content });

test("a turn shows what the turn before did not have", () => {
  const before = { prompt: [user("a")], sampled: ["b"] };
  const prompt = [user("a"), assistant("b"), user("c")];
  const { earlier, fresh } = newMessages(prompt, before);
  assert.deepEqual(fresh, [user("c")]);
  assert.equal(earlier.length, 2);
});

test("another dialogue, and a prompt that repeats the last one, are shown whole", () => {
  assert.deepEqual(newMessages([user("x")], { prompt: [user("a")], sampled: [] }).fresh, [user("x")]);
  assert.deepEqual(newMessages([user("a")], { prompt: [user("a")], sampled: ["b"] }).fresh, [user("a")]);
  assert.deepEqual(newMessages("text", { prompt: "text", sampled: [] }).fresh, "text");
  assert.deepEqual(newMessages([user("a")], null).fresh, [user("a")]);
});
