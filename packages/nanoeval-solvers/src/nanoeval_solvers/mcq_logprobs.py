"""Multiple choice by log probabilities: one token per question, no reply to read."""

from __future__ import annotations

import dataclasses
import math
import random
import unicodedata
from collections.abc import Sequence
from typing import Any, ClassVar

import chz
from nanoeval_core.asyncio_utils import gather_results
from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder import get_recorder

from nanoeval_solvers._mocks import Mock
from nanoeval_solvers._prompting import CHOICES_FIELDS, CHOICES_PROMPT, Prompted
from nanoeval_solvers._templates import Message
from nanoeval_solvers.api_model import record_reply
from nanoeval_solvers.mcq import Answer, MCQSolver, MCQTask, Question
from nanoeval_solvers.reply import Reply, TokenLogprobs

__all__ = [
    "ChoiceProbabilities",
    "MCQLogprobSolver",
    "MockLogprobSolver",
    "answer_of",
    "choice_probabilities",
]

ONE_LETTER = "Reply with the letter of the correct choice, and nothing else."


@dataclasses.dataclass(frozen=True, slots=True)
class ChoiceProbabilities:
    """How probable each choice is as the next token.

    Attributes:
        of: the probability of each choice, over all of them 1.
        letter_mass: the probability that the next token is a letter of a choice at all.
        error: what letters beyond the reported tokens could change in any of `of`, at most.
    """

    of: tuple[float, ...]
    letter_mass: float
    error: float


def choice_probabilities(
    token: TokenLogprobs, letters: Sequence[str]
) -> ChoiceProbabilities | None:
    """Return the probabilities of `letters` as `token`, or None when none of them is among its top.

    All tokens that are the letter count for it: with or without a leading space, in brackets or in
    bold, in lower case or full width. The letters that are not among the top tokens count as 0;
    `error` says how much that may be off, since none of them can be more probable than the least
    of the top tokens, nor all of them than what the top tokens leave.
    """
    mass = dict.fromkeys(letters, 0.0)
    for text, logprob in token.top:
        letter = _letter(text)
        if letter in mass:
            mass[letter] += math.exp(logprob)
    total = sum(mass.values())
    if total <= 0:
        return None
    unseen = sum(value == 0 for value in mass.values())
    left = max(0.0, 1.0 - sum(math.exp(logprob) for _, logprob in token.top))
    least = min(math.exp(logprob) for _, logprob in token.top)
    missing = min(unseen * least, left)
    return ChoiceProbabilities(
        of=tuple(mass[letter] / total for letter in letters),
        letter_mass=min(1.0, total),
        error=missing / (total + missing),
    )


def _letter(token: str) -> str:
    """Return the letter that a token is, in any tokenizer's spelling of spaces."""
    text = unicodedata.normalize(
        "NFKC", token.replace("▁", " ").replace("Ġ", " ").replace("Ċ", " ")
    )
    return text.strip(_AROUND).upper()


_AROUND = " \t\r\n()[]{}<>*_#-=,;:.!\"'`$「」【】、。"


@chz.chz
class MCQLogprobSolver(Prompted, MCQSolver[Answer]):
    """Picks the most probable letter, and reports how probable it and the correct one are.

    One token is asked for, with the log probabilities of the most probable ones. For questions
    with one correct choice.
    """

    FIELDS: ClassVar[Sequence[str]] = CHOICES_FIELDS

    user_prompt: str = chz.field(default=CHOICES_PROMPT, doc="A template.")
    top_logprobs: int = chz.field(
        default=20, doc="Log probabilities to ask for: as many as the endpoint gives."
    )
    cyclic: bool = chz.field(
        default=False,
        doc="Ask once for each cyclic order of the choices and average, which cancels the "
        "model's bias towards positions; one call per choice.",
    )
    max_error: float = chz.field(
        default=0.05,
        doc="Report no prob_correct when letters beyond the top tokens could change it by more.",
    )

    min_letter_mass: float = chz.field(
        default=0.1,
        doc="Count a reply as unparsable when the next token is a letter with less probability.",
    )

    @chz.validate
    def _check_numbers(self) -> None:
        where = type(self).__name__
        if self.top_logprobs < 1:
            raise ConfigError(f"{where}.top_logprobs={self.top_logprobs}: give 1 or more")
        if not 0 <= self.min_letter_mass <= 1:
            raise ConfigError(
                f"{where}.min_letter_mass={self.min_letter_mass}: give a number from 0 to 1"
            )

    def messages(self, question: Question) -> list[Message]:
        """Return the chat that asks `question`."""
        return self._choices_chat(question, ONE_LETTER)

    async def solve(self, task: MCQTask) -> Answer:
        question = task.question
        size = len(question.answers)
        if question.allow_multiple_choices or size > 26:
            wrong = (
                "allows multiple choices"
                if question.allow_multiple_choices
                else f"has {size} choices: from the 27th on (AA) a letter is no single token"
            )
            raise ConfigError(
                f"{type(self).__name__} cannot answer question {task.question_id!r}, which {wrong}"
                ": use OpenAIAPIMCQSolver"
            )
        turns = range(size if self.cyclic else 1)
        asked = await gather_results(*(self._ask(task, turn) for turn in turns))
        problems = [one for one in asked if isinstance(one, Answer)]
        if problems:
            # An average over some of the orders would not cancel what it is for.
            unparsable = sum(one.problem == "unparsable" for one in problems) if self.cyclic else 0
            return problems[0].model_copy(update={"num_unparsable_samples": unparsable})
        found = [one for one in asked if isinstance(one, ChoiceProbabilities)]
        # Choice `index` was shown at place `index - turn`.
        chances = [
            sum(one.of[(index - turn) % size] for turn, one in zip(turns, found, strict=True))
            / len(found)
            for index in range(size)
        ]
        error = sum(one.error for one in found) / len(found)
        return answer_of(chances, question, error=error, max_error=self.max_error)

    async def _ask(self, task: MCQTask, turn: int) -> ChoiceProbabilities | Answer:
        question = task.question
        size = len(question.answers)
        order = [(place + turn) % size for place in range(size)]
        messages = self.messages(question.permuted(order))
        sample, attempt = f"{task.name}/{turn}", task.attempt_id
        reply = await self.ask(messages, sample=sample, attempt=attempt, params=self._params())
        found: ChoiceProbabilities | None = None
        extra: dict[str, Any] = {}
        if reply.problem is None:
            token = self._first_token(reply, size)
            extra = {"letter_mass": 0.0, "top_logprobs": dict(token.top)}
            found = choice_probabilities(token, question.letters)
        if found is not None:
            extra["letter_mass"] = found.letter_mass
            extra["letter_probabilities"] = dict(zip(question.letters, found.of, strict=True))
        record_reply(messages, reply, model=self.model, **extra)
        if found is None or found.letter_mass < self.min_letter_mass:
            return question.answer(None, problem=reply.problem)
        return found

    def _params(self) -> dict[str, Any]:
        if self.api == "responses":
            include = ["message.output_text.logprobs"]
            # The least that the responses API accepts; the first token is the one that counts.
            return {"top_logprobs": self.top_logprobs, "include": include, "max_output_tokens": 16}
        return {"logprobs": True, "top_logprobs": self.top_logprobs, "max_tokens": 1}

    def _first_token(self, reply: Reply, num_choices: int) -> TokenLogprobs:
        where = f"{self.endpoint_url} gives model {self.model!r}"
        if not reply.logprobs:
            raise ConfigError(
                f"{where} no log probabilities: use OpenAIAPIMCQSolver, or an endpoint and model "
                "that support logprobs"
            )
        token = reply.logprobs[0]
        if len(token.top) < min(num_choices, self.top_logprobs):
            raise ConfigError(
                f"{where} {len(token.top)} log probabilities of the {self.top_logprobs} asked "
                f"for, too few for {num_choices} choices: use OpenAIAPIMCQSolver, or another "
                "endpoint"
            )
        return token


def answer_of(
    chances: Sequence[float], question: Question, *, error: float, max_error: float
) -> Answer:
    """Return the answer when choice `i` has probability `chances[i]`, give or take `error`."""
    best = max(chances)
    picks = [frozenset({i}) for i, p in enumerate(chances) if p >= best - 1e-12]
    return question.answer(
        random.Random(repr(list(chances))).choice(picks),
        tied=tuple(picks) if len(picks) > 1 else (),
        prob_correct=sum(chances[i] for i in question.correct_indices)
        if error <= max_error
        else None,
        prob_picked=best if error <= max_error else None,
    )


@chz.chz
class MockLogprobSolver(Mock, MCQSolver[Answer]):
    """Gives choices random probabilities, without a model; `accuracy` is how often the correct
    one is the most probable. The same seed gives the same answers."""

    accuracy: float = chz.field(default=0.5, doc="The probability of a correct answer.")

    async def solve(self, task: MCQTask) -> Answer:
        rng = await self._attempt(task)
        question = task.question
        right = rng.random() < self.accuracy or len(question.answers) == 1
        weights = sorted((rng.random() for _ in question.answers), reverse=True)
        indices = sorted(
            range(len(question.answers)),
            key=lambda i: ((i in question.correct_indices) != right, rng.random()),
        )
        chances = [weights[indices.index(i)] / sum(weights) for i in range(len(indices))]
        shown = {letter: round(p, 4) for letter, p in zip(question.letters, chances, strict=True)}
        get_recorder().record_sampling(
            question.question, [""], model="mock", letter_probabilities=shown
        )
        return answer_of(chances, question, error=0.0, max_error=0.0)
