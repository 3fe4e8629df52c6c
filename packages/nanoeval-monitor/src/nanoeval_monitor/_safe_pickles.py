"""Errors out of a state file, read without importing or running what they were made of.

The classes of an eval's own errors are usually not importable here, and a page that only looks
should not import an eval's code.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple


class StoredFailure(NamedTuple):
    """An error as people read it: its class's name, its text, and where it was raised."""

    kind: str
    message: str
    traceback: str


class _Stand:
    """Takes the place of any object: remembers its class's name and what it was built from."""

    name = ""
    args: tuple[Any, ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> _Stand:
        made = super().__new__(cls)
        made.args = args
        return made

    def __setstate__(self, state: Any) -> None:
        """Ignore the state: nothing else of an error is shown."""

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...


class _NameOnly(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        return type("Stand", (_Stand,), {"name": global_name})


def read_failure(value: bytes | None) -> StoredFailure:
    """Return what `nanoeval_runner._failures.dump_failure` wrote, or what can be said of it."""
    if not value:
        return StoredFailure("unknown error", "", "")
    try:
        loaded = _NameOnly(io.BytesIO(value)).load()
    except Exception as problem:  # noqa: BLE001  shown in place of the error
        return StoredFailure("unreadable error", f"{type(problem).__name__}: {problem}", "")
    error, trace = loaded if isinstance(loaded, tuple) and len(loaded) == 2 else (loaded, "")
    if not isinstance(error, _Stand):
        return StoredFailure("unknown error", repr(error)[:500], "")
    args = [arg for arg in error.args if not isinstance(arg, _Stand)]
    return StoredFailure(error.name, ", ".join(str(arg) for arg in args), str(trace))
