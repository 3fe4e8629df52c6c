import assert from "node:assert/strict";
import { test } from "node:test";
import { choicesIn, newMessages } from "../../src/nanoeval_monitor/static/messages.js";

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

test("choices are read out of the text, from A on", () => {
  const found = choicesIn("What is it?\n\nA) one\nB) two\nC) three\n\nAnswer with a letter.");
  assert.equal(found.before, "What is it?");
  assert.deepEqual(found.choices.map((one) => [one.letter, one.label, one.text]), [["A", "A)", "one"], ["B", "B)", "two"], ["C", "C)", "three"]]);
  assert.equal(found.after.trim(), "Answer with a letter.");
  assert.equal(choicesIn("(A) x\n(B) y").choices.length, 2);
  assert.equal(choicesIn("A. only one"), null);
  assert.equal(choicesIn("no choices"), null);
  assert.equal(choicesIn("example\nA) 1\nB) 2\n\nnow\nA) 3\nB) 4").choices[0].text, "3");
});
