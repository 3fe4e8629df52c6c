"""Pickling with errors that name the field."""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Iterator
from typing import Any

from nanoeval_core.errors import NotPicklableError


def dumps(value: Any, *, what: str, by_value: bool = False, renew_locks: bool = False) -> bytes:
    """Return `value`, pickled; `pickle.loads` reads it.

    What pickle cannot do by reference (classes and functions defined inside a function or a
    notebook) is done by value with cloudpickle.

    Args:
        what: names the value in errors.
        by_value: put the classes and functions of `__main__` into the pickle, for processes
            that cannot import it.
        renew_locks: a thread's lock becomes a new one, unlocked, instead of an error: right for
            what is configured (a spec, a task), wrong for a result.

    Raises:
        NotPicklableError: names `what` and the field that cannot be pickled.
    """
    if by_value and (pickled := _dumps_by_value(value, renew_locks)) is not None:
        return pickled
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        if (pickled := _dumps_by_value(value, renew_locks)) is not None:
            return pickled
        path, cause = _culprit(value, error, renew_locks)
        at = f"field {'.'.join(path)!r}" if path else f"a {type(value).__name__}"
        raise NotPicklableError(
            f"{what} cannot be pickled: {at}: {type(cause).__name__}: {cause}. "
            "Keep plain data in it, and open clients, locks and files in Eval._context()"
        ) from error


def _dumps_by_value(value: Any, renew_locks: bool) -> bytes | None:
    import cloudpickle  # noqa: PLC0415  for what pickle refuses only

    # cloudpickle would also "pickle" an open file, by its content; pickle refuses, and so do we.
    table = {k: v for k, v in cloudpickle.CloudPickler.dispatch_table.items() if k not in _HELD}
    if renew_locks:
        table |= {type(make()): lambda _, make=make: (make, ()) for make in _LOCKS}
    pickler = type("ByValue", (cloudpickle.CloudPickler,), {"dispatch_table": table})
    buffer = io.BytesIO()
    try:
        pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception:  # noqa: BLE001  the first error, of pickle, is the one that is reported
        return None
    return buffer.getvalue()


_HELD = {io.TextIOWrapper, io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom}
_LOCKS = (threading.Lock, threading.RLock)


def check_loadable(pickled: bytes, *, what: str) -> None:
    """Raise `NotPicklableError`, naming `what`, unless `pickled` can be read again."""
    try:
        pickle.loads(pickled)
    except Exception as error:
        raise NotPicklableError(
            f"{what} can be pickled, but not read again: {type(error).__name__}: {error}. "
            "Give its class a __reduce__ or __getstate__ that its __init__ can follow"
        ) from error


def _culprit(value: Any, error: Exception, renew_locks: bool) -> tuple[list[str], Exception]:
    """Return the path to the innermost field of `value` that cannot be pickled, and why."""
    for name, part in _parts(value):
        try:
            pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
        except Exception as part_error:  # noqa: BLE001  whatever it is, it names the field
            if _dumps_by_value(part, renew_locks) is None:
                path, cause = _culprit(part, part_error, renew_locks)
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


__all__ = ["check_loadable", "dumps"]
