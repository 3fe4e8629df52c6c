"""Graders: strategies that say whether a short answer is right."""

from __future__ import annotations

import dataclasses
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import chz
from nanoeval_core.async_tools import HasAsyncContextManager


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader says of an answer.

    Args:
        correct: whether it is right.
        record: what the record should keep beside that, such as the grader's reply.
    """

    correct: bool
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@chz.chz
class Grader(HasAsyncContextManager, ABC):
    """A strategy that says whether an answer is right. Override `grade`."""

    @abstractmethod
    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        """Whether `answer` agrees with any of `references`.

        Raises:
            RolloutSystemError: the grader failed, which says nothing about the answer.
        """


def normalised(text: str) -> str:
    """`text` without differences of case, width, spacing, quotes and final punctuation."""
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    text = text.strip("*_`$\"'“”‘’ \t\n").rstrip(".!。")
    return " ".join(text.split())


@chz.chz
class ExactMatch(Grader):
    """Right when the answer is a reference answer."""

    normalise: bool = chz.field(
        default=True, doc="Ignore case, width, spacing, quotes and final punctuation."
    )

    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        if self.normalise:
            return Verdict(normalised(answer) in {normalised(one) for one in references})
        return Verdict(answer in references)
