"""The current recorder: what evals and solvers record with."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from nanoeval_core.errors import NoCurrentRecorderError
from nanoeval_core.library_config import get_library_config
from nanoeval_core.recorder_protocol import RecorderConfig, RecorderProtocol
from nanoeval_core.recording import BaseRecorder, file_reference, recorder

__all__ = [
    "BaseRecorder",
    "RecorderConfig",
    "RecorderProtocol",
    "dummy_recorder",
    "get_recorder",
    "record_file",
    "recorder",
    "set_default_recorder",
]

logger = logging.getLogger("nanoeval.recorder")


def get_recorder() -> RecorderProtocol:
    """Return the recorder of the attempt that is running, or the default one outside of attempts.

    Raises:
        LookupError: none is current.
    """
    try:
        return recorder.get()
    except LookupError:
        raise NoCurrentRecorderError(
            "no recorder is current: evaluate() runs inside nanoeval.run(spec); to call it on its "
            "own, wrap the call in `with nanoeval.recorder.dummy_recorder():`"
        ) from None


@contextlib.contextmanager
def set_default_recorder(
    rec: RecorderProtocol, sample_id: str | None = None, group_id: str | None = None
) -> Iterator[RecorderProtocol]:
    """Make `rec` what `get_recorder()` returns inside the `with`; the former one comes back.

    With ids, `LibraryConfig.set_recorder_context(rec, sample_id, group_id)` is entered too.
    """
    token = recorder.set(rec)
    try:
        if sample_id is None or group_id is None:
            yield rec
        else:
            with get_library_config().set_recorder_context(rec, sample_id, group_id):
                yield rec
    finally:
        recorder.reset(token)


def dummy_recorder(log: bool = True) -> Any:
    """Return the config of a recorder that keeps nothing: `LibraryConfig.get_dummy_recorder(log)`.

    Use it as `RunnerArgs(recorder=dummy_recorder())`, or around direct calls of `evaluate`:
    `with dummy_recorder(): await my_eval.evaluate(task)`.
    """
    logger.warning("the dummy recorder keeps nothing of what is recorded")
    return get_library_config().get_dummy_recorder(log)


def record_file(content: bytes | str, media_type: str = "text/plain") -> str:
    """Keep a large text or an image once in the record, and return the reference to it.

    Record the reference, `sha256:…`, in place of the content. A recorder that keeps no files gets
    none.
    """
    current = get_recorder()
    if isinstance(current, BaseRecorder):
        return current.record_file(content, media_type)
    return file_reference(content)
