// What a dialogue's messages say, without a page (pure).

// A prompt in two: what the sampling before had already, its reply included, and what is new.
export function newMessages(prompt, before) {
  if (!Array.isArray(prompt) || !Array.isArray(before?.prompt)) return { earlier: [], fresh: prompt };
  let same = 0;
  while (same < prompt.length && same < before.prompt.length && JSON.stringify(prompt[same]) === JSON.stringify(before.prompt[same])) same += 1;
  if (same < before.prompt.length) return { earlier: [], fresh: prompt }; // another dialogue
  const replies = Array.isArray(before.sampled) ? before.sampled : [before.sampled];
  const next = prompt[same];
  const isReply = next?.role === "assistant" && replies.some((reply) => JSON.stringify(reply ?? "") === JSON.stringify(next.content ?? ""));
  if (isReply) same += 1;
  return same === prompt.length ? { earlier: [], fresh: prompt } : { earlier: prompt.slice(0, same), fresh: prompt.slice(same) };
}

const CHOICE = /^\s*\(?([A-Z])[).:]\s+(.*)$/;

// The question, its lettered choices in a row from A on, and what follows them; null without any.
export function choicesIn(text) {
  const lines = text.split("\n");
  for (let first = lines.length - 1; first >= 0; first--) {
    if (CHOICE.exec(lines[first])?.[1] !== "A") continue;
    const choices = [];
    let at = first;
    while (at < lines.length) {
      const found = CHOICE.exec(lines[at]);
      if (!found || found[1] !== String.fromCharCode(65 + choices.length)) break;
      choices.push({ letter: found[1], label: lines[at].slice(0, lines[at].length - found[2].length).trim(), text: found[2] });
      at += 1;
    }
    if (choices.length >= 2) return { before: lines.slice(0, first).join("\n").trimEnd(), choices, after: lines.slice(at).join("\n") };
  }
  return null;
}
