"""What the results in a state file score, for runs whose records hold no matches."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

from nanoeval_core.errors import RolloutSystemError, StateError

from nanoeval_runner._display.tally import score_of
from nanoeval_runner._payloads import load_result
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.paths import check_owner
from nanoeval_runner._queue.rows import EvalRow
from nanoeval_runner.stored_eval import restore_origin

__all__ = ["stored_scores"]

ROWS_AT_A_TIME = 10_000
LAST_ID = (1 << 62) - 1


def stored_scores(path: Path, row: EvalRow) -> dict[str, tuple[float, ...]]:
    """Return question id → what its attempts scored, by an eval's results in the state file.

    Results that are bools, or have a bool or a number called `correct`, `is_correct` or `score`,
    say what they score; others, and lost tasks, are left out.

    Raises:
        StateError: the file is not the user's own, or a result cannot be loaded.
    """
    check_owner(path)
    restore_origin(row.origin)
    found: dict[str, tuple[float, ...]] = {}
    with contextlib.closing(connect(path, read_only=True)) as connection:
        after = 0
        while True:
            tasks = transactions.list_final(
                connection, row.id, (after, LAST_ID), ROWS_AT_A_TIME, payload=False
            )
            for task in tasks:
                after = task.task_id
                try:
                    result = load_result(task.value or b"")
                except (pickle.PickleError, AttributeError, ImportError, EOFError) as error:
                    raise StateError(
                        f"a result of eval {row.name!r} in {path} cannot be loaded "
                        f"({type(error).__name__}: {error}): its code has moved or changed"
                    ) from error
                score = None if isinstance(result, RolloutSystemError) else score_of(result)
                if score is not None:
                    found[task.question_id] = (*found.get(task.question_id, ()), score)
            if len(tasks) < ROWS_AT_A_TIME:
                return found
