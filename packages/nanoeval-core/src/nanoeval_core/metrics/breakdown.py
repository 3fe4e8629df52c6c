"""The same summary for each group of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
S = TypeVar("S")


def breakdown(
    results: Sequence[tuple[T, S]], field: str, summarize: Callable[[list[tuple[T, S]]], Any]
) -> dict[str, Any]:
    """`summarize` the results of each value of a field of their tasks.

        breakdown(results, "question.subject", summarize)

    Args:
        results: `(task, result)` pairs.
        field: a task's field, or a path of fields and mapping keys with dots between them. Tasks
            whose value is a list, tuple or set (tags) count in each of their groups.
        summarize: what to say of one group's results.

    Returns:
        The value as text → its summary, in order. Tasks without a value are under `(none)`.

    Raises:
        ValueError: a task has no such field.
    """
    groups: dict[str, list[tuple[T, S]]] = {}
    for task, result in results:
        for label in _labels(_value(task, field)):
            groups.setdefault(label, []).append((task, result))
    return {label: summarize(groups[label]) for label in sorted(groups)}


async def breakdown_async(
    results: Sequence[tuple[T, S]], field: str, summarize: Callable[[list[tuple[T, S]]], Any]
) -> dict[str, Any]:
    """`breakdown` with a `summarize` to await, such as `Eval.get_summary`."""
    found = breakdown(results, field, summarize)
    return {label: await summary for label, summary in found.items()}


def _value(task: Any, field: str) -> Any:
    value = task
    for step in field.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif not isinstance(value, Mapping) and hasattr(value, step):
            value = getattr(value, step)
        else:
            name = getattr(task, "name", task)
            raise ValueError(f"task {name!r} has no field {field!r}: there is no {step!r}")
    return value


def _labels(value: Any) -> list[str]:
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_label(one) for one in value] or [_label(None)]
    return [_label(value)]


def _label(value: Any) -> str:
    return "(none)" if value is None else str(value)
