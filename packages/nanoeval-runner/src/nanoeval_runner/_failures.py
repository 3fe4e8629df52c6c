"""Exceptions on their way through the state file: pickled where they can be, described always."""

from __future__ import annotations

import pickle
import traceback

from nanoeval_core.errors import NanoevalError, RolloutSystemError

_REMOTE_NOTE = "traceback in the executor:\n"


class FailureDescription(NanoevalError):
    """Stands for an exception that could not be pickled: its type and text, and its traceback."""


def dump_failure(error: BaseException) -> bytes:
    """`error` as bytes that `load_failure` gives back, with its traceback as a note."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    try:
        payload = pickle.dumps((error, trace), pickle.HIGHEST_PROTOCOL)
        pickle.loads(payload)
    except Exception:  # noqa: BLE001  replaced by its description
        kind = RolloutSystemError if isinstance(error, RolloutSystemError) else FailureDescription
        replacement = kind(f"{type(error).__qualname__}: {error}")
        for note in getattr(error, "__notes__", []):
            replacement.add_note(note)
        payload = pickle.dumps((replacement, trace), pickle.HIGHEST_PROTOCOL)
    return payload


def load_failure(payload: bytes) -> BaseException:
    """What `dump_failure` was given, or the nearest to it that could be pickled."""
    error, trace = pickle.loads(payload)
    assert isinstance(error, BaseException)  # noqa: S101
    if not isinstance(error, RolloutSystemError):
        error.add_note(_REMOTE_NOTE + trace)
    return error


def wrapped(error: BaseException) -> Exception:
    """An ExceptionGroup holds no SystemExit or CancelledError; say which it was."""
    wrapped = RuntimeError(f"evaluate raised {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    for note in getattr(error, "__notes__", []):
        wrapped.add_note(note)
    return wrapped
