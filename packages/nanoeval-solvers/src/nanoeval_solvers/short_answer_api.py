"""Short answers over an OpenAI-compatible API: ask, then take the answer out of the reply."""

from __future__ import annotations

from typing import Any

import chz

from nanoeval_solvers._prompting import Answering, structured_answer
from nanoeval_solvers._replies.rules import RULES
from nanoeval_solvers._replies.short import AnswerRead, read_answer
from nanoeval_solvers._templates import Message
from nanoeval_solvers.reply import Reply
from nanoeval_solvers.short_answer import Answer, Question, ShortAnswerSolver, ShortAnswerTask

__all__ = ["OpenAIAPIShortAnswerSolver", "answer_in"]

INSTRUCTION = (
    "Think as much as you need, then end with one line of the form `Answer: …`, with the answer "
    "alone."
)
FOLLOW_UP = "What is your final answer? Reply with the answer only."


def answer_in(reply: str) -> str | None:
    """Return the answer that `reply` states, as it is written there; None when it states none."""
    return read_answer(reply).text


@chz.chz
class OpenAIAPIShortAnswerSolver(Answering, ShortAnswerSolver):
    """Asks the question in a chat and takes the answer out of the reply.

    The prompts are templates with `{question}` and `{instruction}` (how to give the answer).
    """

    def _asked(self, question: Question) -> list[Message]:
        instruction = "Give your reasoning, then the answer alone."
        fields = {
            "question": question.question,
            "instruction": instruction if self.structured else INSTRUCTION,
        }
        return self._chat(fields, question.images)

    def _right_answer(self, question: Question) -> str:
        return question.answers[0]

    def _answer_schema(self, question: Question) -> dict[str, Any]:
        return {"type": "string"}

    async def solve(self, task: ShortAnswerTask) -> Answer:
        reply, read, followed_up = await self._converse(task, task.question, FOLLOW_UP)
        if read is None:
            return Answer(answer="", problem=reply.problem)
        return Answer(
            answer=read.text or "",
            problem="unparsable" if read.text is None else None,
            read_by=read.read_by,
            truncated=reply.truncated,
            only_reasoning=reply.only_reasoning,
            followed_up=followed_up,
        )

    def _read(self, reply: Reply, question: Question, *, structured: bool) -> AnswerRead:
        if structured:
            answer = structured_answer(reply.text)
            text = answer.strip() or None if isinstance(answer, str) else None
            return AnswerRead(text, None if text is None else "structured")
        if self.extraction is not None:
            text = RULES[self.extraction](reply.text)
            return AnswerRead(text, None if text is None else "answer_line")
        return read_answer(reply.text, parsing=self.parsing, truncated=reply.truncated)
