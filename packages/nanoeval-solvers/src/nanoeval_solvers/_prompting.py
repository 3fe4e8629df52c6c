"""From a question to a reply that is read: what the solvers share that ask a model over its API."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import chz
from nanoeval_core.errors import ConfigError
from nanoeval_core.task import Task

from nanoeval_solvers._replies.parsing import Parsing
from nanoeval_solvers._replies.rules import RULES
from nanoeval_solvers._templates import Message, chat, check_template, lettered
from nanoeval_solvers.api_model import APIModel, record_reply
from nanoeval_solvers.reply import Reply

CHOICES_PROMPT = "{question}\n\n{choices}\n\n{instruction}"
CHOICES_FIELDS = ("question", "choices", "letters", "instruction")


@chz.chz
class Prompted(APIModel):
    """A model that is asked by templates."""

    FIELDS: ClassVar[Sequence[str]] = ("question", "instruction")

    system_prompt: str | None = chz.field(default=None, doc="A template; None sends none.")
    user_prompt: str = chz.field(default="{question}\n\n{instruction}", doc="A template.")

    @chz.validate
    def _check_templates(self) -> None:
        where = type(self).__name__
        for name in ("system_prompt", "user_prompt"):
            template = getattr(self, name)
            if template is not None:
                check_template(template, self.FIELDS, name=f"{where}.{name}")
        if "{question}" not in self.user_prompt:
            raise ConfigError(f"{where}.user_prompt must use {{question}}")

    def _chat(self, fields: Mapping[str, str], images: Sequence[str]) -> list[Message]:
        system = self.system_prompt
        return chat(
            system=None if system is None else system.format(**fields),
            user=self.user_prompt.format(**fields),
            images=images,
        )

    def _choices_chat(self, question: Any, instruction: str) -> list[Message]:
        fields = {
            "question": question.question,
            "choices": lettered(question.answers, question.letters),
            "letters": ", ".join(question.letters),
            "instruction": instruction,
        }
        return self._chat(fields, question.pictures)


@chz.chz
class Answering(Prompted):
    """A model whose reply is read, and that is asked once more where it names no answer."""

    few_shot: tuple[Any, ...] = chz.field(
        default=(), doc="Questions that are shown with their answers before the one that is asked."
    )
    structured: bool = chz.field(
        default=False, doc="Ask for the answer as JSON, by a schema that the endpoint enforces."
    )
    parsing: Parsing = chz.field(
        default="lenient",
        doc="strict reads JSON, an answer line, a box, or a reply that is nothing but the answer; "
        "lenient reads prose too.",
    )
    extraction: str | None = chz.field(
        default=None,
        doc="A public rule in place of ours: simple_evals_mcq for choices, gsm8k or simple_evals "
        "for short answers.",
    )
    follow_up: bool = chz.field(
        default=False, doc="Ask once more for the answer where a reply has none."
    )

    @chz.validate
    def _check_reading(self) -> None:
        where = type(self).__name__
        if self.parsing not in ("strict", "lenient"):
            raise ConfigError(f"{where}.parsing={self.parsing!r}: give 'strict' or 'lenient'")
        if self.extraction not in (None, *RULES):
            raise ConfigError(
                f"{where}.extraction={self.extraction!r}: give one of {', '.join(RULES)}, or None "
                "for our own"
            )

    def messages(self, question: Any) -> list[Message]:
        """Return the chat that asks `question`."""
        asked = self._asked(question)
        shots: list[Message] = []
        for shot in self.few_shot:
            answer = {"role": "assistant", "content": f"Answer: {self._right_answer(shot)}"}
            shots += [self._asked(shot)[-1], answer]
        return [*asked[:-1], *shots, asked[-1]]

    @abstractmethod
    def _asked(self, question: Any) -> list[Message]:
        """Return the chat that asks `question`, without others before it."""

    @abstractmethod
    def _right_answer(self, question: Any) -> str:
        """Return what a reply to a question of `few_shot` says."""

    @abstractmethod
    def _answer_schema(self, question: Any) -> dict[str, Any]:
        """Return the JSON schema of an answer."""

    @abstractmethod
    def _read(self, reply: Reply, question: Any, *, structured: bool) -> Any:
        """Return what a reply answers, and what that was read from, as a pair."""

    async def _converse(self, task: Task, question: Any, again: str) -> tuple[Reply, Any, bool]:
        """Return the reply, what was read of it (None of a refusal), and whether it is a second.

        Args:
            again: what the model is asked when its first reply has no answer.
        """
        attempt = task.attempt_id
        messages = self.messages(question)
        params = _asks_for(self._answer_schema(question)) if self.structured else None
        reply = await self.ask(messages, sample=task.name, attempt=attempt, params=params)
        record_reply(messages, reply, model=self.model)
        if reply.problem is not None:
            return reply, None, False
        read = self._read(reply, question, structured=self.structured)
        asks_again = self.follow_up and read[0] is None
        if asks_again:
            said = {"role": "assistant", "content": reply.text}
            messages = [*messages, said, {"role": "user", "content": again}]
            reply = await self.ask(messages, sample=f"{task.name}/follow_up", attempt=attempt)
            record_reply(messages, reply, model=self.model)
            if reply.problem is None:
                read = self._read(reply, question, structured=False)
        return reply, read, asks_again


def _asks_for(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what asks for JSON with the reasoning first: it cannot rest on what comes after it."""
    schema = {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": answer},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    }
    named = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def structured_answer(reply: str) -> Any:
    """Return the answer of a reply that follows the schema; None of any that does not."""
    try:
        content = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    return content.get("answer") if isinstance(content, dict) else None
