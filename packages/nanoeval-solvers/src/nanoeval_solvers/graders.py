"""Graders: strategies that say whether a short answer is right."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import chz
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import ConfigError, GraderError, RolloutSystemError

from nanoeval_solvers._mocks import Mock
from nanoeval_solvers._replies.cleaning import characters, clean
from nanoeval_solvers._replies.words import UNSPACED
from nanoeval_solvers._templates import chat, check_template
from nanoeval_solvers.api_model import APIModel, record_reply

__all__ = [
    "RUBRIC",
    "ContainsMatch",
    "ExactMatch",
    "Grader",
    "MockGrader",
    "ModelGrader",
    "NumericMatch",
    "RegexMatch",
    "Verdict",
    "normalized",
    "verdict_of",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader says of an answer.

    Args:
        correct: whether it is right.
        exact: whether an exact match would call it right, where that is another question.
        record: what else the record should keep, such as the numbers compared.
    """

    correct: bool
    exact: bool | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@chz.chz
class Grader(HasAsyncContextManager, ABC):
    """A strategy that says whether an answer is right. Override `grade`."""

    @abstractmethod
    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        """Return whether `answer` to `question` agrees with any of `references`.

        Args:
            sample: which answer this is, such as `question.attempt`.

        Raises:
            RolloutSystemError: the grader failed, which says nothing about the answer.
        """


def normalized(text: str) -> str:
    """Return `text` without differences of case, width, spacing, quotes, dashes, last signs."""
    text = characters(text).casefold().strip()
    text = text.strip("*_`$\"' \t\n").rstrip(".!").rstrip("*_`$\"' ")
    return " ".join(text.split())


@chz.chz
class ExactMatch(Grader):
    """Right when the answer is a reference answer."""

    normalize: bool = chz.field(
        default=True, doc="Ignore case, width, spacing, quotes and final punctuation."
    )

    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        return Verdict(self.matches(answer, references))

    def matches(self, answer: str, references: Sequence[str]) -> bool:
        """Return whether `answer` is one of `references`."""
        if not self.normalize:
            return answer in references
        return normalized(answer) in {normalized(one) for one in references}


@chz.chz
class ContainsMatch(Grader):
    """Right when the answer contains a reference answer as whole words."""

    normalize: bool = chz.field(default=True, doc="Ignore case, width and spacing.")

    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        text = normalized(answer) if self.normalize else answer
        wanted = [normalized(one) if self.normalize else one for one in references]
        # A reference of nothing but punctuation would be in every answer.
        return Verdict(any(_contains(text, one) for one in wanted if one))


def _contains(text: str, wanted: str) -> bool:
    """Return whether `wanted` is in `text` as whole words and numbers: 5 is not in 3.5.

    In scripts without spaces between words, a word is where its characters are.
    """
    before, after = "", ""
    if wanted[0].isdigit():
        before = r"(?<![\w^])(?<!\d[.,])(?<!(?<!\w)[-+])(?<!(?<!\w)[-+][ ])(?<![.])"
    elif re.match(rf"[^\W{UNSPACED}]", wanted):
        before = rf"(?<![^\W{UNSPACED}])"
    if wanted[-1].isdigit():
        after = r"(?![\w^%])(?![.,]\d)"
    elif re.match(rf"[^\W{UNSPACED}]", wanted[-1]):
        after = rf"(?![^\W{UNSPACED}])"
    if wanted[0] in "-+" and len(wanted) > 1:
        before = r"(?<![\w.])"
    return re.search(f"{before}{re.escape(wanted)}{after}", text) is not None


@chz.chz
class RegexMatch(Grader):
    """Right when a reference answer, read as a regular expression, matches the answer."""

    whole: bool = chz.field(default=True, doc="Match the whole answer, not just a part of it.")
    ignore_case: bool = chz.field(default=True, doc="Ignore case.")

    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        flags = re.IGNORECASE if self.ignore_case else 0
        for reference in references:
            try:
                pattern = re.compile(reference, flags)
            except re.error as error:
                raise ConfigError(
                    f"RegexMatch: reference answer {reference!r} of {sample!r} is not a regular "
                    f"expression: {error}"
                ) from None
            match = pattern.fullmatch if self.whole else pattern.search
            if match(answer.strip()):
                return Verdict(True)
        return Verdict(False)


@chz.chz
class NumericMatch(Grader):
    """Right when the answer is a number close to a reference answer, in a unit of its kind.

    Numbers may be written as 1,234.5, 1.2e3, 1.2 × 10^3, 1.2 million, 3/4, 1 1/2 or 45 %. When
    the reference answer has a unit, the answer must have one of the same kind, and is converted:
    1.5 km is 1500 m. A bare reference takes 42 with any unit, or "42 eggs".
    """

    relative: float | None = chz.field(
        default=None,
        doc="Tolerance, as a share of the reference; by default 0 where the reference is a whole "
        "number (42, 45 %), and 0.01 otherwise.",
    )
    absolute: float = chz.field(default=0.0, doc="Tolerance, in the unit of the reference.")
    require_unit: bool = chz.field(
        default=True, doc="An answer without a unit is wrong where the reference has one."
    )

    @chz.validate
    def _check_tolerances(self) -> None:
        for name in ("relative", "absolute"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"NumericMatch.{name}={value}: give 0 or more")

    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        from nanoeval_solvers._replies.quantities import (  # noqa: PLC0415  units are slow to load
            is_close,
            quantity_of,
        )

        given = quantity_of(answer)
        record: dict[str, Any] = {"number": None if given is None else _recorded(given.value)}
        for reference in references:
            wanted = quantity_of(reference)
            if wanted is None or wanted.counted:
                raise ConfigError(
                    f"NumericMatch: reference answer {reference!r} of {sample!r} is no number "
                    "with a unit that is known: mend it, or use another grader"
                )
            if given is not None and is_close(
                given,
                wanted,
                relative=self.relative,
                absolute=self.absolute,
                require_unit=self.require_unit,
            ):
                return Verdict(True, record=record)
        return Verdict(False, record=record)


def _recorded(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


RUBRIC = """\
You grade an answer to a question against a reference. The answer is correct when it says the same \
as the reference, in whatever words; further remarks do not matter unless they contradict it.

Question: {question}

Reference: {references}

Answer to grade: {answer}

Think as much as you need, then end with one line that is either `Verdict: CORRECT` or \
`Verdict: INCORRECT`."""

_FENCE = re.compile(r"^\s*(?:```|~~~)\w*\s*$|</?[A-Za-z]\w{0,30}>", re.MULTILINE)
_VERDICT = re.compile(r"\s*\W*verdict\W*\s*(correct|incorrect)\W*\s*", re.IGNORECASE)


def verdict_of(reply: str) -> bool | None:
    """Return what the last line of a grader's reply says; None when that is neither verdict.

    Thoughts are not read; a code fence or a closing tag around the line makes no difference.
    """
    text = _FENCE.sub("", clean(reply))
    lines = [line for line in text.splitlines() if line.strip()]
    match = _VERDICT.fullmatch(lines[-1]) if lines else None
    return None if match is None else match[1].lower() == "correct"


@chz.chz
class ModelGrader(Grader):
    """Asks a model, by a rubric. Its verdict is the last line of its reply, read strictly.

    Each call is recorded as a sampling with `role: grader`.
    """

    model: APIModel = chz.field(doc="The grading model: `ModelGrader(model=APIModel(model=…))`.")
    rubric: str = chz.field(
        default=RUBRIC, doc="A template with {question}, {references} and {answer}."
    )
    system_prompt: str | None = chz.field(default=None, doc="Sent as it is; None sends none.")
    tries: int = chz.field(
        default=3, doc="Replies to ask for until one ends with a verdict; then it is an error."
    )

    @chz.validate
    def _check_rubric(self) -> None:
        check_template(self.rubric, ("question", "references", "answer"), name="ModelGrader.rubric")
        if "{answer}" not in self.rubric:
            raise ConfigError("ModelGrader.rubric must use {answer}")
        if self.tries < 1:
            raise ConfigError(f"ModelGrader.tries={self.tries}: give 1 or more")

    async def _context(self) -> AsyncGenerator[None, None]:
        async with self.model:
            yield

    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        user = self.rubric.format(
            question=question, references=" or ".join(references), answer=answer
        )
        messages = chat(system=self.system_prompt, user=user)
        for attempt in range(1, self.tries + 1):
            try:
                reply = await self.model.ask(
                    messages, sample=f"{sample}/grader/{attempt}", attempt=attempt
                )
            except GraderError:
                raise
            except RolloutSystemError as error:
                raise GraderError(f"the grader failed: {error}") from error
            record_reply(messages, reply, model=self.model.model, role="grader")
            correct = None if reply.problem is not None else verdict_of(reply.text)
            if correct is not None:
                exact = ExactMatch().matches(answer, references)
                return Verdict(correct, exact=exact, record={"exact": exact})
        raise GraderError(
            f"the grader gave no verdict in {self.tries} replies, the last of which ends with "
            f"{reply.text[-100:]!r}: check ModelGrader.rubric and the grading model"
        )


@chz.chz
class MockGrader(Mock, Grader):
    """Gives the verdict of an exact match, or by chance the opposite.

    The same seed gives the same verdicts; whether a try fails changes from try to try.
    """

    agreement: float = chz.field(
        default=1.0, doc="The probability that the verdict is that of an exact match."
    )

    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        rng = random.Random(f"{self.seed}:{sample}:{answer}")
        agrees = rng.random() < self.agreement
        if self.latency:
            await asyncio.sleep(rng.expovariate(1 / self.latency))
        if random.random() < self.failure_rate:
            raise GraderError(f"the mock grader failed, as failure_rate={self.failure_rate} asks")
        exact = ExactMatch().matches(answer, references)
        return Verdict(exact is agrees, exact=exact, record={"exact": exact})
