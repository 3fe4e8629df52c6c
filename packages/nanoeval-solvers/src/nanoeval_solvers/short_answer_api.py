"""Short answers over an OpenAI-compatible API: ask, then take the answer out of the reply."""

from __future__ import annotations

import json

import chz
from nanoeval_core.errors import ConfigError

from nanoeval_solvers._replies.parsing import Parsing
from nanoeval_solvers._replies.rules import RULES, check_rule
from nanoeval_solvers._replies.short import AnswerRead, read_answer
from nanoeval_solvers._templates import Message, chat, check_template
from nanoeval_solvers.api_model import APIModel, record_reply
from nanoeval_solvers.reply import Reply
from nanoeval_solvers.short_answer import Answer, Question, ShortAnswerSolver, ShortAnswerTask

__all__ = ["OpenAIAPIShortAnswerSolver", "answer_in"]

INSTRUCTION = (
    "Think as much as you need, then end with one line of the form `Answer: …`, with the answer "
    "alone."
)
FOLLOW_UP = "What is your final answer? Reply with the answer only."
_SCHEMA = {
    "name": "answer",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": {"type": "string"}},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    },
}


def answer_in(reply: str) -> str | None:
    """Return the answer that `reply` states, as it is written there; None when it states none."""
    return read_answer(reply).text


@chz.chz
class OpenAIAPIShortAnswerSolver(APIModel, ShortAnswerSolver):
    """Asks the question in a chat and takes the answer out of the reply.

    The prompts are templates with `{question}` and `{instruction}` (how to give the answer).
    """

    system_prompt: str | None = chz.field(default=None, doc="A template; None sends none.")
    user_prompt: str = chz.field(default="{question}\n\n{instruction}", doc="A template.")
    few_shot: tuple[Question, ...] = chz.field(
        default=(), doc="Questions that are shown with their answers before the one that is asked."
    )
    structured: bool = chz.field(
        default=False, doc="Ask for the answer as JSON, by a schema that the endpoint enforces."
    )
    parsing: Parsing = chz.field(
        default="lenient",
        doc="strict reads JSON, an answer line, a box, or a reply of one short line; lenient reads "
        "sentences too.",
    )
    extraction: str | None = chz.field(
        default=None, doc="A public rule in place of ours: gsm8k or simple_evals."
    )
    follow_up: bool = chz.field(
        default=False, doc="Ask once more for the answer where a reply states none."
    )

    @chz.validate
    def _check_prompts(self) -> None:
        where = type(self).__name__
        for name in ("system_prompt", "user_prompt"):
            template = getattr(self, name)
            if template is not None:
                check_template(template, ("question", "instruction"), name=f"{where}.{name}")
        if "{question}" not in self.user_prompt:
            raise ConfigError(f"{where}.user_prompt must use {{question}}")
        if self.parsing not in ("strict", "lenient"):
            raise ConfigError(f"{where}.parsing={self.parsing!r}: give 'strict' or 'lenient'")
        check_rule(self.extraction, f"{where}.extraction")

    def messages(self, question: Question) -> list[Message]:
        """Return the chat that asks `question`."""
        asked = self._asked(question)
        shots: list[Message] = []
        for shot in self.few_shot:
            answer = {"role": "assistant", "content": f"Answer: {shot.answers[0]}"}
            shots += [self._asked(shot)[-1], answer]
        return [*asked[:-1], *shots, asked[-1]]

    def _asked(self, question: Question) -> list[Message]:
        instruction = "Give your reasoning, then the answer alone."
        fields = {
            "question": question.question,
            "instruction": instruction if self.structured else INSTRUCTION,
        }
        system = self.system_prompt
        return chat(
            system=None if system is None else system.format(**fields),
            user=self.user_prompt.format(**fields),
            images=question.images,
        )

    async def solve(self, task: ShortAnswerTask) -> Answer:
        messages = self.messages(task.question)
        reply = await self._ask(messages, task, structured=self.structured)
        if reply.problem is not None:
            return Answer(answer="", problem=reply.problem)
        read = self._read(reply, structured=self.structured)
        followed_up = self.follow_up and read.text is None
        if followed_up:
            messages = [
                *messages,
                {"role": "assistant", "content": reply.text},
                {"role": "user", "content": FOLLOW_UP},
            ]
            reply = await self._ask(messages, task, structured=False, sample="/follow_up")
            if reply.problem is None:
                read = self._read(reply, structured=False)
        return Answer(
            answer=read.text or "",
            problem="unparsable" if read.text is None else None,
            read_by=read.read_by,
            truncated=reply.truncated,
            only_reasoning=reply.only_reasoning,
            followed_up=followed_up,
        )

    async def _ask(
        self, messages: list[Message], task: ShortAnswerTask, *, structured: bool, sample: str = ""
    ) -> Reply:
        schema = {"response_format": {"type": "json_schema", "json_schema": _SCHEMA}}
        reply = await self.ask(
            messages,
            sample=task.name + sample,
            attempt=task.attempt_id,
            params=schema if structured else None,
        )
        record_reply(messages, reply, model=self.model)
        return reply

    def _read(self, reply: Reply, *, structured: bool) -> AnswerRead:
        if structured:
            text = _structured_answer(reply.text)
            return AnswerRead(text, None if text is None else "structured")
        if self.extraction is not None:
            text = RULES[self.extraction](reply.text)
            return AnswerRead(text, None if text is None else "answer_line")
        return read_answer(reply.text, parsing=self.parsing, truncated=reply.truncated)


def _structured_answer(reply: str) -> str | None:
    try:
        content = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    answer = content.get("answer") if isinstance(content, dict) else None
    return answer.strip() or None if isinstance(answer, str) else None
