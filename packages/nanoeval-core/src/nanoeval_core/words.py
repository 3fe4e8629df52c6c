"""The words for states and verdicts: the same in the terminal, on pages and in records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

__all__ = [
    "AttemptState",
    "RunState",
    "run_state",
    "verdict",
]

RunState = Literal["queued", "running", "done", "stopped", "died", "failed"]
"""What a run is. `stopped`: a person or a budget ended it; `failed`: an exception did; `died`: it
is unfinished, and no process runs it."""

AttemptState = Literal[
    "right", "wrong", "partly right", "unparsable", "refused", "error", "lost", "no match"
]
"""What an attempt came to. `error`: it failed and was retried; `lost`: it was the last one, so its
task has no score; `no match`: it ended well, and its eval records no match."""


def run_state(stored: str, *, is_running: bool) -> RunState:
    """Return the state of a run that its state file calls `stored`.

    Args:
        stored: the state in the file.
        is_running: whether a process runs the run set now.
    """
    if stored in ("queued", "running") and not is_running:
        return "died"
    known: dict[str, RunState] = {word: word for word in ("queued", "running", "done", "stopped")}
    return known.get(stored, "failed")


def verdict(match: Mapping[str, Any] | None, *, errors: int = 0) -> AttemptState:
    """Return what an attempt came to, if no retry follows it.

    Args:
        match: the data of its match event; None without one.
        errors: how many errors it recorded.
    """
    if match is None:
        return "lost" if errors else "no match"
    if match.get("unparsable") or match.get("problem") == "empty":
        return "unparsable"
    if match.get("refused") or match.get("problem") in ("content_policy", "context_length"):
        return "refused"
    score = match.get("score", match.get("correct"))
    if not isinstance(score, (bool, int, float)):
        return "no match"
    return "right" if score == 1 else "wrong" if score == 0 else "partly right"
