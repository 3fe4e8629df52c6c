"""System errors by kind, each with its latest example, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from nanoeval_runner.state_files import FailedAttempt

from nanoeval_monitor._safe_pickles import read_failure

MAX_KINDS = 50
OTHER = "other kinds"
MESSAGE = 2000
TRACEBACK = 20_000


@dataclasses.dataclass(slots=True)
class FailureKind:
    """How often errors of a class ended an attempt, and what the latest said."""

    kind: str
    count: int = 0
    message: str = ""
    task: str = ""
    traceback: str = ""
    at: float = 0.0


class FailureKinds:
    """The kinds of errors of one eval."""

    def __init__(self) -> None:
        self._kinds: dict[str, FailureKind] = {}

    def add(self, failed: FailedAttempt) -> None:
        failure = read_failure(failed.value)
        name = failure.kind
        if name not in self._kinds and len(self._kinds) >= MAX_KINDS:
            name = OTHER
        kind = self._kinds.setdefault(name, FailureKind(name))
        kind.count += 1
        kind.message = failure.message[:MESSAGE]
        kind.traceback = failure.traceback[-TRACEBACK:]
        kind.at = failed.finished_at
        retry = f" (retry {failed.retry_idx})" if failed.retry_idx else ""
        kind.task = f"{failed.question_id}.{failed.attempt_id}{retry}"

    def as_rows(self) -> Sequence[dict[str, Any]]:
        """Return all kinds, the most frequent first."""
        ordered = sorted(self._kinds.values(), key=lambda kind: -kind.count)
        return [dataclasses.asdict(kind) for kind in ordered]
