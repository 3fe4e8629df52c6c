"""What a finished run says: its result as a short table, how to go on, and the exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TextIO

from nanoeval_core.metrics.headline import Headline, headline, score_names

from nanoeval_runner.formats import format_count, format_score, format_seconds
from nanoeval_runner.text_table import format_table

__all__ = [
    "LINES",
    "Collected",
    "Result",
    "collected",
    "collecting",
    "metric_rows",
    "nanoeval_command",
    "problems",
    "result_lines",
    "results_table",
    "resume_command",
    "using_resume_command",
]

LINES = 15
"""As many lines as the result of one run has at most."""

LOST_SHOWN = 3
"""Of several runs: how many that measured nothing say why."""

ERROR_WIDTH = 160
_COUNTED = ("unparsable", "refused", "grader_error", "timed_out")
_PROBLEMS = {"context_length": "over the context length", "timed_out": "timed out"}
_REFUSALS = ("content policy", "over the context length")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is known of one run at its end.

    Attributes:
        state: `done`, or why it is not: `stopped`, `failed`, `died`.
        done: tasks with a result, lost ones among them.
        errors: how many tasks each error cost, in its own words.
        summary: what `Eval.get_full_summary` gave, partial where the run was stopped.
        record: where the record is, a path or a URL.
    """

    eval: str
    model: str = ""
    run_id: str = ""
    state: str = "done"
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    tokens: int = 0
    cost: float = 0.0
    retries: int = 0
    errors: Mapping[str, int] = dataclasses.field(default_factory=dict)
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    record: str | None = None

    @property
    def lost(self) -> int:
        """Tasks whose last attempt ended in a system error: they have no score."""
        return sum(self.errors.values())

    @property
    def measured(self) -> int:
        """Tasks that have a score."""
        return self.done - self.lost


def result_lines(result: Result, width: int | None = None) -> list[str]:
    """Return the result of one run: its metrics, what went wrong, what it took, what is next."""
    state = "" if result.state == "done" else f"  {result.state}"
    end = []
    if found := problems(result.summary):
        end.append("replies: " + ", ".join([f"{n:,} {what}" for what, n in found.items()]))
    took = [f"{result.done:,}/{result.total:,} tasks in {format_seconds(result.seconds)}"]
    if result.retries:
        took.append(f"{format_count(result.retries)} retries" if result.retries > 1 else "1 retry")
    if result.tokens:
        took.append(f"{format_count(result.tokens)} tokens")
    if result.cost:
        took.append(f"cost {result.cost:.4g}")
    end.append(" · ".join(took))
    if result.record:
        end.append(f"record: {result.record}")
    if result.run_id and result.state == "done":  # else it was said how to go on
        end.append(f"next: {_next_command(result)}")
    if result.lost:
        end.append(_lost_line(result))
    metrics = metric_rows(result.summary) if result.measured else []
    room = max(1, LINES - len(end) - 3)
    more = [f"and {len(metrics) - room} more"] if len(metrics) > room + 1 else []
    rows = metrics[:room] if more else metrics
    header = ("metric", "value", "95 % interval")
    table = format_table(header, rows, right=frozenset(header[1:]), width=width) if rows else []
    name = f"{result.eval} · {result.model}" if result.model else result.eval
    return [f"{name}{state}", *table, *more, *end]


def metric_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Return name, value ± error and interval of a summary's metrics, then of its groups."""
    found = [(name, headline(summary, name)) for name in score_names(summary)]
    groups = summary.get("by")
    for column, values in (groups if isinstance(groups, Mapping) else {}).items():
        for value, metrics in (values if isinstance(values, Mapping) else {}).items():
            if isinstance(metrics, Mapping):
                found.append((f"{column}={value}", headline(metrics)))
    rows = []
    for label, metric in found:
        if metric is not None:
            rows.append([label, *_value_and_interval(metric)])
    return rows


def _value_and_interval(metric: Headline) -> tuple[str, str]:
    interval = ""
    if metric.low is not None and metric.high is not None:
        interval = f"{format_score(metric.low)} – {format_score(metric.high)}"
    return format_score(metric.value, metric.stderr), interval


def problems(summary: Mapping[str, Any]) -> dict[str, int]:
    """Return what went wrong with replies, by a word each, where it is not 0."""
    counts = summary.get("counts")
    found = {name: counts.get(name, 0) for name in _COUNTED} if isinstance(counts, dict) else {}
    for name, value in summary.items():
        what = name.removeprefix("num_")
        if what not in (name, "tasks", "attempts", "tied"):
            found.setdefault(what, value)
    named = {}
    for name, number in found.items():
        if isinstance(number, int) and number > 0:
            named[_PROBLEMS.get(name, name.replace("_", " "))] = number
    for why in _REFUSALS:
        if named.get(why) == named.get("refused", 0):  # all of them, which need not be told twice
            named[f"refused ({why})"] = named.pop(why)
            del named["refused"]
    return named


def _lost_line(result: Result) -> str:
    what = "1 task lost" if result.lost == 1 else f"{result.lost:,} tasks lost"
    if result.measured:
        what += f": the score is of {result.measured:,}"
    else:
        what += ": nothing was measured"
    text, number = max(result.errors.items(), key=lambda item: item[1])
    often = f" ({number:,} times)" if number > 1 else ""
    return f"{what}; {text[:ERROR_WIDTH]}{often}"


def _next_command(result: Result) -> str:
    command, counts = nanoeval_command(), result.summary.get("counts")
    if result.record is not None and result.lost:
        return f"{command} samples {result.run_id} --errors"
    if result.record is not None and isinstance(counts, dict) and counts.get("incorrect"):
        return f"{command} samples {result.run_id} --wrong"
    return f"{command} show {result.run_id}"


NUMBERS = ("score", "95 % interval", "done", "lost", "retries", "time", "tokens", "cost")
_HEADER = ("eval", "model", "", *NUMBERS)


def results_table(results: Sequence[Result], width: int | None = None) -> list[str]:
    """Return the results of runs that went on together: one as it is, several a row each."""
    if len(results) == 1:
        return result_lines(results[0], width)
    lost = [one for one in results if one.errors and not one.measured]
    lost_lines = [f"{one.eval}: {_lost_line(one)}" for one in lost[:LOST_SHOWN]]
    most = LINES - len(lost_lines)
    shown = list(results) if len(results) < most else list(results[: most - 2])
    lines = format_table(
        _HEADER, [_row(one) for one in shown], right=frozenset(NUMBERS), width=width
    )
    more = f"and {len(results) - len(shown)} more" if len(shown) < len(results) else "next"
    return [*lines, f"{more}: {nanoeval_command()} ls -n {len(results)}", *lost_lines]


def _row(result: Result) -> list[str]:
    found = headline(result.summary) if result.measured else None  # of nothing, it is no score
    score, interval = _value_and_interval(found) if found is not None else ("", "")
    if found is not None and found.name not in ("accuracy", "score"):
        score = f"{found.name} {score}"
    return [
        result.eval,
        result.model,
        "" if result.state == "done" else result.state,
        score,
        interval,
        f"{result.done:,}/{result.total:,}",
        format_count(result.lost) if result.lost else "",
        format_count(result.retries) if result.retries else "",
        format_seconds(result.seconds),
        format_count(result.tokens) if result.tokens else "",
        f"{result.cost:.4g}" if result.cost else "",
    ]


# --- how to go on, as it works from where the person is


_replacement: ContextVar[str | None] = ContextVar("nanoeval_resume_command", default=None)
_find_spec = functools.cache(importlib.util.find_spec)


def resume_command(run_set_id: str) -> str:
    """Return the command that finishes a run set; empty where a caller says how to go on itself."""
    replacement = _replacement.get()
    if replacement is not None:
        return replacement
    if _find_spec("nanoeval_cli") is None:  # the runner alone has no commands
        return f'await nanoeval_runner.resume("{run_set_id}")'
    return f"{nanoeval_command()} resume {run_set_id}"


@functools.cache  # each run says how it is resumed
def nanoeval_command() -> str:
    """Return `nanoeval`, or how to start it where a shell does not find that."""
    found = shutil.which("nanoeval")
    own = os.path.join(os.path.dirname(sys.executable), "nanoeval")
    if found is not None and os.path.realpath(found) == os.path.realpath(own):
        return "nanoeval"
    return f"{shlex.quote(sys.executable)} -m nanoeval"


@contextlib.contextmanager
def using_resume_command(command: str) -> Iterator[None]:
    """Make `command` what runs in the block say of how to resume them.

    For a script or a series that goes on when it is called again: one command then, not one a run.
    """
    token = _replacement.set(command)
    try:
        yield
    finally:
        _replacement.reset(token)


# --- what a program does with the results of its runs


@dataclasses.dataclass(slots=True)
class Collected:
    """The results of the runs of a program.

    Attributes:
        stream: where their tables go; None for where progress is shown.
        is_shown: whether there are tables at all.
        results: in the order in which the runs ended.
    """

    stream: TextIO | None = None
    is_shown: bool = True
    results: list[Result] = dataclasses.field(default_factory=list)

    def exit_code(self, lost_share: float | None = None) -> int:
        """Return 1 if a run measured nothing, or lost more than this share of its tasks; else 0."""
        most = 1.0 if lost_share is None else lost_share
        return int(any(r.done and (not r.measured or r.lost > most * r.done) for r in self.results))


_collected: ContextVar[Collected | None] = ContextVar("nanoeval_results", default=None)


@contextlib.contextmanager
def collecting(stream: TextIO | None = None, *, is_shown: bool = True) -> Iterator[Collected]:
    """Collect the results of the runs of the block, and say where they are shown."""
    found = Collected(stream, is_shown)
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def collected() -> Collected | None:
    """Return what collects the results of the calling code's runs; None without one."""
    return _collected.get()
