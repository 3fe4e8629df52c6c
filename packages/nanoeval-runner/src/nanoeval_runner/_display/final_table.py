"""The short table at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

from nanoeval_core.metrics.headline import headline

from nanoeval_runner._display.view import View
from nanoeval_runner.formats import format_count, format_score, format_seconds
from nanoeval_runner.text_table import fitted_table

NUMBERS = ("score", "95 % interval", "done", "errors", "retries", "time", "tokens", "cost")
HEADER = ("eval", "model", "", *NUMBERS)
RECORDS_SHOWN = 10


def final_table(views: Sequence[View], width: int | None = None) -> list[str]:
    """A row per eval, or a list where `width` columns are too few; then where the records are."""
    rows = [_row(view) for view in views]
    lines = fitted_table(HEADER, rows, right=frozenset(NUMBERS), width=width)
    recorded = [view for view in views if view.record]
    for view in recorded[:RECORDS_SHOWN]:
        of = f" of {view.name}" if len(views) > 1 else ""
        lines.append(f"record{of}: {view.record}")
    if len(recorded) > RECORDS_SHOWN:
        lines.append(f"and {len(recorded) - RECORDS_SHOWN} more records")
    return lines


def _row(view: View) -> list[str]:
    found = headline(view.summary or {}) if view.done else None  # of nothing, it is no score
    score = interval = ""
    if found is not None:
        name = "" if found.name in ("accuracy", "score") else f"{found.name} "
        score = name + format_score(found.value, found.stderr)
        if found.low is not None and found.high is not None:
            interval = f"{format_score(found.low)} – {format_score(found.high)}"
    partial = view.summary is not None and view.summary.get("partial")
    return [
        view.eval_name,
        view.model or "",
        "partial" if partial else view.state if view.state != "done" else "",
        score,
        interval,
        view.counts(),
        format_count(view.errors.total()) if view.errors else "",
        format_count(view.retries) if view.retries else "",
        format_seconds(view.elapsed),
        format_count(view.tokens) if view.tokens else "",
        f"{view.cost:.4g}" if view.cost else "",
    ]
