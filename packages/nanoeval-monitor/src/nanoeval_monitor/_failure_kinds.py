"""System errors by kind, each with its latest example, in bounded memory."""

from __future__ import annotations

from typing import Any

from nanoeval_runner.state_files import FailedAttempt

from nanoeval_monitor._safe_pickles import read_failure

MAX_KINDS = 50
OTHER = "other kinds"
MESSAGE = 2000
TRACEBACK = 20_000


class FailureKinds:
    """The kinds of errors of one eval: how often each ended an attempt, and its latest example."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Any]] = {}

    def add(self, failed: FailedAttempt) -> None:
        failure = read_failure(failed.value)
        name = failure.kind
        if name not in self._kinds and len(self._kinds) >= MAX_KINDS:
            name = OTHER
        retry = f" (retry {failed.retry_idx})" if failed.retry_idx else ""
        self._kinds[name] = {
            "kind": name,
            "count": self._kinds.get(name, {}).get("count", 0) + 1,
            "message": failure.message[:MESSAGE],
            "task": f"{failed.question_id}.{failed.attempt_id}{retry}",
            "traceback": failure.traceback[-TRACEBACK:],
            "at": failed.finished_at,
        }

    def as_rows(self) -> list[dict[str, Any]]:
        """Return all kinds, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind["count"])
