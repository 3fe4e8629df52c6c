"""Multiple choice over an OpenAI-compatible API: ask, then read the reply."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import chz

from nanoeval_solvers._prompting import (
    CHOICES_FIELDS,
    CHOICES_PROMPT,
    Answering,
    structured_answer,
)
from nanoeval_solvers._replies.letters import letters_for
from nanoeval_solvers._replies.parsing import Reading, read_choices
from nanoeval_solvers._replies.rules import RULES
from nanoeval_solvers._templates import ONE_CHOICE, SEVERAL_CHOICES, Message
from nanoeval_solvers.mcq import Answer, MCQSolver, MCQTask, Question
from nanoeval_solvers.reply import Reply

if TYPE_CHECKING:
    import openai

__all__ = ["MC_PROMPT_FORMAT", "MCQAPISolver", "OpenAIAPIMCQSolver"]

MC_PROMPT_FORMAT = """\
{{ question }}

{% for letter, answer in letters_to_answers.items() -%}
({{ letter }}) {{ answer }}
{% endfor -%}
"""
"""A jinja2 template of a question with its choices, for solvers that fill in prompts themselves."""

FOLLOW_UP = "Which one is your final answer? Reply with the letter only."
FOLLOW_UP_SEVERAL = "Which ones are your final answer? Reply with their letters only."


@chz.chz
class OpenAIAPIMCQSolver(Answering, MCQSolver[Answer]):
    """Asks the question in a chat and reads the answer from the reply.

    The prompts are templates with `{question}`, `{choices}` (lettered lines), `{letters}` and
    `{instruction}` (how to give one answer or several).
    """

    FIELDS: ClassVar[Sequence[str]] = CHOICES_FIELDS

    user_prompt: str = chz.field(default=CHOICES_PROMPT, doc="A template.")

    async def _context(self) -> AsyncGenerator[None, None]:
        mine = OpenAIAPIMCQSolver
        if type(self)._client is mine._client and type(self).solve is mine.solve:
            async with contextlib.asynccontextmanager(super()._context)():
                yield
        else:  # a subclass that asks in its own way may need no key
            yield

    def _asked(self, question: Question) -> list[Message]:
        several = question.allow_multiple_choices
        instruction = SEVERAL_CHOICES if several else ONE_CHOICE
        if self.structured:
            what = "letters of all correct choices" if several else "letter"
            instruction = f"Give your reasoning, then the {what}."
        return self._choices_chat(question, instruction)

    def _right_answer(self, question: Question) -> str:
        return ", ".join(question.letters[index] for index in sorted(question.correct_indices))

    def _answer_schema(self, question: Question) -> dict[str, Any]:
        letter = {"type": "string", "enum": list(question.letters)}
        return {"type": "array", "items": letter} if question.allow_multiple_choices else letter

    async def solve(self, task: MCQTask) -> Answer:
        question = task.question
        again = FOLLOW_UP_SEVERAL if question.allow_multiple_choices else FOLLOW_UP
        reply, read, followed_up = await self._converse(task, question, again)
        if read is None:
            return question.answer(None, problem=reply.problem)
        return question.answer(
            read.picked,
            read_by=None if read.picked is None else read.read_by,
            truncated=reply.truncated,
            only_reasoning=reply.only_reasoning,
            followed_up=followed_up,
            metadata={"correct_format": read.picked is not None},
        )

    async def ask(self, messages: Sequence[Message], **options: Any) -> Reply:
        if type(self)._client is OpenAIAPIMCQSolver._client:
            return await super().ask(messages, **options)
        create: Any = self._client.chat.completions.create  # a subclass brings its own
        response = await create(model=self.model, messages=messages)
        choice = response.choices[0]
        return Reply(text=choice.message.content or "", finish_reason=choice.finish_reason)

    def _read(self, reply: Reply, question: Question, *, structured: bool) -> Reading:
        """Return the choices that a reply names, by the rule that was asked for."""
        several = question.allow_multiple_choices
        own = type(self)._extract_picked_letters.__func__  # type: ignore[attr-defined]
        letters: Any
        if structured:
            answer = structured_answer(reply.text)
            letters = answer if several else [answer]
        elif own is not OpenAIAPIMCQSolver._extract_picked_letters.__func__:  # type: ignore[attr-defined]
            found = self._extract_picked_letters(reply.text, set(question.letters), several)
            letters = [*found] if len(found) == 1 or (found and several) else None
        elif self.extraction is not None:
            letters = [RULES[self.extraction](reply.text)]
        else:
            return read_choices(
                reply.text,
                question.answers,
                multiple=several,
                parsing=self.parsing,
                truncated=reply.truncated,
            )
        known = isinstance(letters, list) and all(one in question.letters for one in letters)
        picked = frozenset(map(question.letters.index, letters)) if known else None
        return Reading(picked, "structured" if structured else "answer_line")

    @property
    def _client(self) -> openai.AsyncOpenAI:
        """The SDK's client, for subclasses that make calls of their own.

        `solve` makes its calls through it only where a subclass overrides it.
        """
        return self.make_client(api_key=self.api_key(), base_url=self.endpoint_url)

    @classmethod
    def _extract_picked_letters(
        cls, sampled: str, answer_keys: set[str], allow_multiple_choices: bool
    ) -> set[str]:
        """Return the letters of `answer_keys` that a reply answers with; none where it is unclear.

        A subclass may override it: `solve` then reads replies with it.
        """
        labels = letters_for(26)
        shown = max((labels.index(key) + 1 for key in answer_keys if key in labels), default=0)
        read = read_choices(sampled, [""] * shown, multiple=allow_multiple_choices)
        return {labels[index] for index in read.picked or ()} & answer_keys

    @staticmethod
    def _random_guess(question: Question) -> Answer:
        """Return a choice at random, seeded by `question.seed`. Never used by `solve`."""
        picked = random.Random(question.seed).randrange(len(question.answers))
        return question.answer({picked}, metadata={"random_guess": True})


MCQAPISolver = OpenAIAPIMCQSolver
"""The former name of `OpenAIAPIMCQSolver`."""
