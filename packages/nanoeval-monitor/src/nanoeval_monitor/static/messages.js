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
