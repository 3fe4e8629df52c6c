"""The same summary for each group of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
S = TypeVar("S")


def breakdown(
    results: Sequence[tuple[T, S]], field: str, summarize: Callable[[list[tuple[T, S]]], Any]
) -> dict[str, Any]:
    """Return `summarize` the results of each value of a field of their tasks.

        breakdown(results, "question.subject", summarize)

    Args:
        results: `(task, result)` pairs.
        field: a task's field, or a path of fields and mapping keys with dots between them. Tasks
            whose value is a list, tuple or set (tags) count in each of their groups.
        summarize: what to say of one group's results.

    Returns:
        The value as text → its summary, in order. Tasks without the field or a value in it are
        under `(none)`.

    Raises:
        ValueError: no task has such a field.
    """
    values = [_value(task, field) for task, _ in results]
    if results and all(value is _NO_FIELD for value in values):
        task = results[0][0]
        fields: Any = task if isinstance(task, Mapping) else getattr(task, "__dict__", ())
        raise ValueError(
            f"no task has a field {field!r}; the first, {getattr(task, 'name', task)!r}, has "
            f"{sorted(map(str, fields))}"
        )
    groups: dict[str, list[tuple[T, S]]] = {}
    for (task, result), value in zip(results, values, strict=True):
        for label in _labels(value):
            groups.setdefault(label, []).append((task, result))
    return {label: summarize(groups[label]) for label in sorted(groups)}


def with_breakdown(
    results: Sequence[tuple[T, S]],
    fields: Sequence[str],
    summarize: Callable[[Sequence[tuple[T, S]]], dict[str, Any]],
) -> dict[str, Any]:
    """Return the summary of all results and, where there are `fields`, that `by` each of them."""
    metrics = summarize(results)
    if fields:
        metrics["by"] = {field: breakdown(results, field, summarize) for field in fields}
    return metrics


_NO_FIELD: Any = object()


def _value(task: Any, field: str) -> Any:
    if isinstance(task, Mapping) and field in task:  # whatever dots the name has
        return task[field]
    value = task
    for step in field.split("."):
        if isinstance(value, Mapping):
            value = value.get(step, _NO_FIELD)
        else:
            value = getattr(value, step, _NO_FIELD)
        if value is None or value is _NO_FIELD:
            return value
    return value


def _labels(value: Any) -> list[str]:
    tags = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    return ["(none)" if tag is None or tag is _NO_FIELD else str(tag) for tag in tags or [None]]


__all__ = ["breakdown", "with_breakdown"]
