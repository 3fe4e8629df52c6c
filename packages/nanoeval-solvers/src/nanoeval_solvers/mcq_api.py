"""Multiple choice over an OpenAI-compatible API: ask, then read the reply."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import chz
from nanoeval_core.errors import ConfigError

from nanoeval_solvers._replies.letters import letters_for
from nanoeval_solvers._replies.parsing import Parsing, Reading, read_choices
from nanoeval_solvers._replies.rules import RULES, check_rule
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
from nanoeval_solvers.reply import Reply

if TYPE_CHECKING:
    import openai

__all__ = ["MC_PROMPT_FORMAT", "MCQAPISolver", "OpenAIAPIMCQSolver"]

USER_PROMPT = "{question}\n\n{choices}\n\n{instruction}"

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
class OpenAIAPIMCQSolver(APIModel, MCQSolver[Answer]):
    """Asks the question in a chat and reads the answer from the reply.

    The prompts are templates with `{question}`, `{choices}` (lettered lines), `{letters}` and
    `{instruction}` (how to give one answer or several).
    """

    system_prompt: str | None = chz.field(default=None, doc="A template; None sends none.")
    user_prompt: str = chz.field(default=USER_PROMPT, doc="A template.")
    few_shot: tuple[Question, ...] = chz.field(
        default=(), doc="Questions that are shown with their answers before the one that is asked."
    )
    structured: bool = chz.field(
        default=False, doc="Ask for the answer as JSON, by a schema that the endpoint enforces."
    )
    parsing: Parsing = chz.field(
        default="lenient",
        doc="strict reads JSON, an answer line, a box, or a reply that is nothing but the choice; "
        "lenient reads prose too.",
    )
    extraction: str | None = chz.field(
        default=None, doc="A public rule in place of ours: simple_evals_mcq."
    )
    follow_up: bool = chz.field(
        default=False, doc="Ask once more for the letter where a reply names no choice."
    )

    @chz.validate
    def _check_prompts(self) -> None:
        where = type(self).__name__
        for name in ("system_prompt", "user_prompt"):
            template = getattr(self, name)
            if template is not None:
                check_template(template, MCQ_FIELDS, name=f"{where}.{name}")
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
            letters = ", ".join(shot.letters[index] for index in sorted(shot.correct_indices))
            shots += [self._asked(shot)[-1], {"role": "assistant", "content": f"Answer: {letters}"}]
        return [*asked[:-1], *shots, asked[-1]]

    def _asked(self, question: Question) -> list[Message]:
        fields = {
            "question": question.question,
            "choices": lettered(question.answers, question.letters),
            "letters": ", ".join(question.letters),
            "instruction": self._instruction(question),
        }
        system = self.system_prompt
        return chat(
            system=None if system is None else system.format(**fields),
            user=self.user_prompt.format(**fields),
            images=question.pictures,
        )

    async def solve(self, task: MCQTask) -> Answer:
        question = task.question
        messages = self.messages(question)
        reply = await self._ask(messages, task, structured=self.structured)
        if reply.problem is not None:
            return question.answer(None, problem=reply.problem)
        read = self._read(reply, question)
        followed_up = self.follow_up and read.picked is None
        if followed_up:
            ask_again = FOLLOW_UP_SEVERAL if question.allow_multiple_choices else FOLLOW_UP
            messages = [
                *messages,
                {"role": "assistant", "content": reply.text},
                {"role": "user", "content": ask_again},
            ]
            reply = await self._ask(messages, task, structured=False, sample="/follow_up")
            if reply.problem is None:
                read = self._read(reply, question, structured=False)
        return question.answer(
            read.picked,
            read_by=None if read.picked is None else read.read_by,
            truncated=reply.truncated,
            only_reasoning=reply.only_reasoning,
            followed_up=followed_up,
            metadata={"correct_format": read.picked is not None},
        )

    async def _ask(
        self, messages: list[Message], task: MCQTask, *, structured: bool, sample: str = ""
    ) -> Reply:
        if type(self)._client is not OpenAIAPIMCQSolver._client:  # a subclass brings its own
            create: Any = self._client.chat.completions.create
            response = await create(model=self.model, messages=messages)
            choice = response.choices[0]
            reply = Reply(text=choice.message.content or "", finish_reason=choice.finish_reason)
        else:
            reply = await self.ask(
                messages,
                sample=task.name + sample,
                attempt=task.attempt_id,
                params=_schema(task.question) if structured else None,
            )
        record_reply(messages, reply, model=self.model)
        return reply

    def _read(self, reply: Reply, question: Question, *, structured: bool | None = None) -> Reading:
        """Return the choices that a reply names, by the rule that was asked for."""
        if self.structured if structured is None else structured:
            return Reading(_structured_choices(reply.text, question), "structured")
        own = type(self)._extract_picked_letters.__func__  # type: ignore[attr-defined]
        if own is not OpenAIAPIMCQSolver._extract_picked_letters.__func__:  # type: ignore[attr-defined]
            letters = self._extract_picked_letters(
                reply.text, set(question.letters), question.allow_multiple_choices
            )
            picked = frozenset(map(question.letters.index, letters))
            clear = picked and (question.allow_multiple_choices or len(picked) == 1)
            return Reading(picked if clear else None, "answer_line")
        if self.extraction is not None:
            letter = RULES[self.extraction](reply.text)
            index = question.letters.index(letter) if letter in question.letters else None
            return Reading(None if index is None else frozenset({index}), "answer_line")
        return read_choices(
            reply.text,
            question.answers,
            multiple=question.allow_multiple_choices,
            parsing=self.parsing,
            truncated=reply.truncated,
        )

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

    def _instruction(self, question: Question) -> str:
        if self.structured:
            what = "letters of all correct choices" if question.allow_multiple_choices else "letter"
            return f"Give your reasoning, then the {what}."
        return SEVERAL_CHOICES if question.allow_multiple_choices else ONE_CHOICE


MCQAPISolver = OpenAIAPIMCQSolver
"""The former name of `OpenAIAPIMCQSolver`."""


def _schema(question: Question) -> dict[str, Any]:
    """Return what asks for JSON with the reasoning first: it cannot rest on what comes after it."""
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
    """Return the choices of a reply that follows the schema; None for any that does not."""
    try:
        content = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    answer = content.get("answer") if isinstance(content, dict) else None
    letters = answer if question.allow_multiple_choices else [answer]
    if not isinstance(letters, list) or any(one not in question.letters for one in letters):
        return None
    return frozenset(question.letters.index(letter) for letter in letters)
