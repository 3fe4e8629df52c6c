"""Multiple choice over an OpenAI-compatible API: ask, then read the reply."""

from __future__ import annotations

import json
from typing import Any

import chz
from nanoeval_core.errors import ConfigError

from nanoeval_solvers._replies.parsing import parse_choices
from nanoeval_solvers._templates import (
    MCQ_FIELDS,
    ONE_CHOICE,
    SEVERAL_CHOICES,
    Message,
    chat,
    check_template,
    lettered,
)
from nanoeval_solvers.api_model import APIModel, record_reply
from nanoeval_solvers.mcq import Answer, MCQSolver, MCQTask, Question

USER_PROMPT = "{question}\n\n{choices}\n\n{instruction}"


@chz.chz
class OpenAIAPIMCQSolver(APIModel, MCQSolver):
    """Asks the question in a chat and reads the answer from the reply.

    The prompts are templates with `{question}`, `{choices}` (lettered lines), `{letters}` and
    `{instruction}` (how to give one answer or several).
    """

    system_prompt: str | None = chz.field(default=None, doc="A template; None sends none.")
    user_prompt: str = chz.field(default=USER_PROMPT, doc="A template.")

    structured: bool = chz.field(
        default=False, doc="Ask for the answer as JSON, by a schema that the endpoint enforces."
    )

    @chz.validate
    def _check_prompts(self) -> None:
        for name in ("system_prompt", "user_prompt"):
            template = getattr(self, name)
            if template is not None:
                check_template(template, MCQ_FIELDS, name=f"{type(self).__name__}.{name}")
        if "{question}" not in self.user_prompt:
            raise ConfigError(f"{type(self).__name__}.user_prompt must use {{question}}")

    def messages(self, question: Question) -> list[Message]:
        """The chat that asks `question`."""
        fields = {
            "question": question.question,
            "choices": lettered(question.choices, question.letters),
            "letters": ", ".join(question.letters),
            "instruction": self._instruction(question),
        }
        system = self.system_prompt
        return chat(
            system=None if system is None else system.format(**fields),
            user=self.user_prompt.format(**fields),
            images=question.images,
        )

    async def solve(self, task: MCQTask) -> Answer:
        question = task.question
        messages = self.messages(question)
        reply = await self.ask(
            messages,
            sample=task.name,
            attempt=task.attempt_id,
            params=_schema(question) if self.structured else None,
        )
        record_reply(messages, reply, model=self.model)
        if reply.problem is not None:
            return Answer(None, problem=reply.problem)
        read = _structured_choices if self.structured else _stated_choices
        return Answer(read(reply.text, question), truncated=reply.truncated)

    def _instruction(self, question: Question) -> str:
        if self.structured:
            what = "letters of all correct choices" if question.allow_multiple_choices else "letter"
            return f"Give your reasoning, then the {what}."
        return SEVERAL_CHOICES if question.allow_multiple_choices else ONE_CHOICE


def _stated_choices(reply: str, question: Question) -> frozenset[int] | None:
    return parse_choices(reply, question.choices, multiple=question.allow_multiple_choices)


def _schema(question: Question) -> dict[str, Any]:
    """Asks for JSON with the reasoning first: what is written first cannot rest on the rest."""
    answer: dict[str, Any] = {"type": "string", "enum": list(question.letters)}
    if question.allow_multiple_choices:
        answer = {"type": "array", "items": answer}
    schema = {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": answer},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    }
    named = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _structured_choices(reply: str, question: Question) -> frozenset[int] | None:
    """The choices of a reply that follows the schema; None for any that does not."""
    try:
        content = json.loads(reply)
    except ValueError:
        return None
    answer = content.get("answer") if isinstance(content, dict) else None
    letters = answer if question.allow_multiple_choices else [answer]
    if not isinstance(letters, list) or any(one not in question.letters for one in letters):
        return None
    return frozenset(question.letters.index(letter) for letter in letters)
