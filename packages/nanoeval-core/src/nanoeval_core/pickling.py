"""Pickling with errors that name the field."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import Any

from nanoeval_core.errors import NotPicklableError

PICKLE_ERRORS = (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError)


def dumps(value: Any, *, what: str, by_value: bool = False) -> bytes:
    """`value`, pickled.

    Args:
        what: names the value in errors.
        by_value: put the classes and functions of `__main__` into the pickle, for processes
            that cannot import it.

    What pickle cannot do by reference (classes and functions defined inside a function or a
    notebook) is done by value with cloudpickle where that is installed; pickle reads both.

    Raises:
        NotPicklableError: names `what` and the field that cannot be pickled.
    """
    if by_value:
        pickled = _dumps_by_value(value)
        if pickled is not None:
            return pickled
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        pickled = _dumps_by_value(value)
        if pickled is not None:
            return pickled
        raise _not_picklable(value, what=what, error=error) from error


def _dumps_by_value(value: Any) -> bytes | None:
    try:
        import cloudpickle  # noqa: PLC0415  for local classes only
    except ImportError:
        return None
    # cloudpickle would also "pickle" an open file, by its content; pickle refuses, and so do we.
    table = {k: v for k, v in cloudpickle.CloudPickler.dispatch_table.items() if k not in _HELD}
    pickler = type("ByValue", (cloudpickle.CloudPickler,), {"dispatch_table": table})
    buffer = io.BytesIO()
    try:
        pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception:  # noqa: BLE001  the first error, of pickle, is the one that is reported
        return None
    return buffer.getvalue()


_HELD = {io.TextIOWrapper, io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom}


def check_picklable(value: Any, *, what: str) -> None:
    """Raise `NotPicklableError`, naming `what` and the field, unless `value` can be pickled."""
    dumps(value, what=what)


def _not_picklable(value: Any, *, what: str, error: Exception) -> NotPicklableError:
    path, error = _culprit(value, error)
    at = f"field {'.'.join(path)!r}" if path else f"a {type(value).__name__}"
    return NotPicklableError(
        f"{what} cannot be pickled: {at}: {type(error).__name__}: {error}. "
        "Keep plain data in it, and open clients, locks and files in Eval._context()"
    )


def _culprit(value: Any, error: Exception) -> tuple[list[str], Exception]:
    """The path to the innermost field of `value` that cannot be pickled, and why it cannot."""
    for name, part in _parts(value):
        try:
            pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
        except PICKLE_ERRORS as part_error:
            if _dumps_by_value(part) is None:
                path, cause = _culprit(part, part_error)
                return [name, *path], cause
    return [], error


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((str(key), part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((str(index), part) for index, part in enumerate(value))
    elif hasattr(value, "__chz_fields__"):
        yield from ((name, getattr(value, name)) for name in value.__chz_fields__)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield from ((str(key), part) for key, part in vars(value).items())
