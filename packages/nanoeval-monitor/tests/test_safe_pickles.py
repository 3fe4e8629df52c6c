from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from nanoeval_core.errors import RolloutSystemError
from nanoeval_monitor._failure_kinds import MAX_KINDS, FailureKinds
from nanoeval_monitor._safe_pickles import read_failure
from nanoeval_runner._failures import dump_failure
from nanoeval_runner._queue.rows import FailedAttempt


class RateLimitError(RolloutSystemError):
    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message, wait)


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_kind_text_and_traceback() -> None:
    failure = read_failure(dump_failure(raised(RateLimitError("slow down", 2.5))))
    assert failure.kind == "RateLimitError"
    assert failure.message == "slow down, 2.5"
    assert "raise error" in failure.traceback


def test_nothing_that_a_pickle_names_is_run_or_imported(tmp_path: Path) -> None:
    proof = tmp_path / "proof"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {proof}",)

    failure = read_failure(pickle.dumps((Attack(), "trace")))
    assert not proof.exists()
    assert failure.kind == "system"


def test_what_is_no_pickle_is_said_to_be_unreadable() -> None:
    assert read_failure(b"no pickle").kind == "unreadable error"
    assert read_failure(None).kind == "unknown error"
    assert read_failure(pickle.dumps(7)).message == "7"


def test_kinds_are_counted_with_their_latest_example_and_stay_few() -> None:
    kinds = FailureKinds()
    for number in range(3 * MAX_KINDS):
        error = type(f"Error{number}", (RolloutSystemError,), {})
        error.__module__ = "__main__"
        blob = pickle.dumps((RolloutSystemError("x"), ""))
        blob = blob.replace(b"RolloutSystemError", f"{'E' * 15}{number:03}".encode())
        kinds.add(FailedAttempt(number, float(number), 1, "q", 1, 2, blob))
    rows = kinds.as_rows()
    assert len(rows) == MAX_KINDS + 1
    assert sum(row["count"] for row in rows) == 3 * MAX_KINDS
    assert rows[0]["task"] == "q.1 (retry 2)"
