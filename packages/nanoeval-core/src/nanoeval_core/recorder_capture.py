"""What attempts record for a recorder that cannot encode: the calls themselves, as snapshots."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nanoeval_core.recorder import set_default_recorder
from nanoeval_core.recorder_base import CallMethods
from nanoeval_core.recorder_protocol import RunSpec, View

RESULT_METHODS = frozenset({"record_match", "record_sample_completed"})

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class CapturedCalls:
    """What one attempt recorded, under one pair of ids."""

    sample_id: str | None
    group_id: str | None
    extra: dict[str, Any]
    calls: list[Call]


@dataclasses.dataclass(frozen=True)
class CallEncoder:
    """An `EventEncoder` whose events are the calls themselves, pickled."""

    run_spec: RunSpec
    urls: Mapping[str, str | None]
    extra_methods: frozenset[str]

    def attempt(self, sample_id: str | None, group_id: str | None) -> CapturedAttempt:
        return CapturedAttempt(self, sample_id, group_id, {})


class CapturedAttempt(CallMethods):
    """An `AttemptRecorder` that keeps a pickled snapshot of each call."""

    def __init__(
        self,
        encoder: CallEncoder,
        sample_id: str | None,
        group_id: str | None,
        extra: dict[str, Any],
    ) -> None:
        self._encoder = encoder
        self._sample_id = sample_id
        self._group_id = group_id
        self._extra = extra
        self._header = _snapshot((sample_id, group_id, extra))
        self._calls: list[tuple[bytes, str, bytes]] = []

    @property
    def run_spec(self) -> RunSpec:
        return self._encoder.run_spec

    def current_sample_id(self) -> str | None:
        return self._sample_id

    def current_group_id(self) -> str | None:
        return self._group_id

    @contextlib.contextmanager
    def as_default_recorder(
        self, sample_id: str, group_id: str, **extra: Any
    ) -> Iterator[CapturedAttempt]:
        """Record under other ids inside the `with`; the calls stay part of this attempt."""
        bound = CapturedAttempt(self._encoder, sample_id, group_id, {**self._extra, **extra})
        bound._calls = self._calls
        with set_default_recorder(bound):
            yield bound

    def record_call(self, method: str, *arguments: Any, **keywords: Any) -> None:
        self._calls.append((self._header, method, _snapshot((arguments, keywords))))

    def record_final_report(self, final_report: Any) -> None:
        """Record it as an extra event: the final report of a run is the runner's to write."""
        self.record_extra({"final_report": final_report})

    def evalboard_url(self, view: View) -> str | None:
        return self._encoder.urls.get(view)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """A recorder's own `record_…` methods are captured like those of the protocol."""
        if name.startswith("record_") and name in self._encoder.extra_methods:
            return lambda *arguments, **keywords: self.record_call(name, *arguments, **keywords)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def take(self, *, completed: bool) -> bytes:
        calls = self._calls
        if not completed:
            calls = [call for call in calls if call[1] not in RESULT_METHODS]
        self._calls = []
        return pickle.dumps(calls, pickle.HIGHEST_PROTOCOL) if calls else b""


def unpack_attempts(chunk: bytes) -> Iterator[CapturedCalls]:
    """The calls in what `CapturedAttempt.take` returned, in order, grouped by their ids."""
    stream = io.BytesIO(chunk)
    while stream.tell() < len(chunk):
        group: CapturedCalls | None = None
        last_header = b""
        for header, method, packed in pickle.load(stream):
            if group is None or header != last_header:
                if group is not None:
                    yield group
                sample_id, group_id, extra = pickle.loads(header)
                group = CapturedCalls(sample_id, group_id, extra, [])
                last_header = header
            arguments, keywords = pickle.loads(packed)
            group.calls.append((method, arguments, keywords))
        if group is not None:
            yield group


def _snapshot(value: Any) -> bytes:
    """`value` pickled; parts that cannot be become their `repr`. Never raises `Exception`."""
    try:
        pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        pickle.loads(pickled)
    except Exception:  # noqa: BLE001  the slow path has an answer for whatever is wrong
        return pickle.dumps(_picklable(value), pickle.HIGHEST_PROTOCOL)
    return pickled


def _picklable(value: Any, depth: int = 0) -> Any:
    if depth < 50 and type(value) in (tuple, list, set, frozenset):
        return type(value)(_picklable(part, depth + 1) for part in list(value))
    if depth < 50 and type(value) is dict:
        return {_picklable(k, depth + 1): _picklable(v, depth + 1) for k, v in list(value.items())}
    try:
        pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001  its text stands for it
        return _exception_text(value) if isinstance(value, BaseException) else _text(value)
    return value


def _exception_text(error: BaseException) -> RuntimeError:
    """An exception that says what one that cannot travel was."""
    return RuntimeError(f"{type(error).__name__}: {_text(error)}")


def _text(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  said instead of the value
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
