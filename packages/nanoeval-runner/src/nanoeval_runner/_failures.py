"""Exceptions on their way through the state file: pickled where they can be, described always.

Nothing here trusts an exception: its `__str__`, its pickling and its `add_note` may all raise.
"""

from __future__ import annotations

import pickle
import traceback

from nanoeval_core.errors import NanoevalError, RolloutSystemError
from nanoeval_core.recording import text_of as text_of

_REMOTE_NOTE = "traceback in the executor:\n"


class FailureDescription(NanoevalError):
    """Stands for an exception that could not be pickled: its type and text, and its traceback."""


def presentable(error: BaseException) -> BaseException:
    """Return `error`, or what describes it where it cannot be printed."""
    try:
        str(error), repr(error)
    except Exception:  # noqa: BLE001  an exception of the user's, whatever it does
        return _description(error)
    return error


def _description(error: BaseException) -> Exception:
    kind = RolloutSystemError if isinstance(error, RolloutSystemError) else FailureDescription
    return _in_place_of(error, kind(f"{type(error).__qualname__}: {text_of(error)}"))


def _in_place_of(error: BaseException, other: Exception) -> Exception:
    other.__cause__ = error
    for note in getattr(error, "__notes__", []):
        other.add_note(str(note))
    return other


def annotate(error: BaseException, note: str) -> BaseException:
    """Return `error` with the note, or what describes it where notes cannot be added to it."""
    error = presentable(error)
    try:
        error.add_note(note)
    except Exception:  # noqa: BLE001  an exception of the user's, whatever it does
        error = _description(error)
        error.add_note(note)
    return error


def dump_failure(error: BaseException) -> bytes:
    """Return `error` as bytes that `load_failure` gives back, with its traceback as a note."""
    try:
        trace = "".join(traceback.format_exception(error)).rstrip()
    except Exception:  # noqa: BLE001  an exception of the user's, whatever it does
        trace = f"{type(error).__qualname__}: {text_of(error)}"
    try:
        payload = pickle.dumps((error, trace), pickle.HIGHEST_PROTOCOL)
        pickle.loads(payload)
    except Exception:  # noqa: BLE001  replaced by its description
        payload = pickle.dumps((_description(error), trace), pickle.HIGHEST_PROTOCOL)
    return payload


def load_failure(payload: bytes) -> BaseException:
    """Return what `dump_failure` was given, or the nearest to it that could be pickled."""
    error, trace = pickle.loads(payload)
    assert isinstance(error, BaseException)  # noqa: S101
    if not isinstance(error, RolloutSystemError):
        return annotate(error, _REMOTE_NOTE + trace)
    return error


def wrapped(error: BaseException) -> Exception:
    """Return an `Exception` that stands for one that no `ExceptionGroup` may hold."""
    text = f"evaluate raised {type(error).__name__}: {text_of(error)}"
    return _in_place_of(error, RuntimeError(text))
