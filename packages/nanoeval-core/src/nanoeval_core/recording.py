"""How events are recorded: each `record_…` call is one event, whatever takes it.

    record_match(…) ─▶ BaseRecorder.event(type, data)
        in an attempt        AttemptRecorder: encoded at once, committed with the attempt's result
        in the driver        TransactionalRecorder.write_events: what attempts took, once each

A recorder of a third party, made from `BaseRecorder` or from nothing but the protocol, is fed from
the same events by `nanoeval_core.recorder_adapter`.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import io
import logging
import pickle
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import chz

from nanoeval_core.dialogues import RecordedTurn, fold
from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.recorder_protocol import (
    BasicRunSpec,
    RecorderConfig,
    RecorderProtocol,
    RunSpec,
    View,
    current_run_spec,
)

__all__ = [
    "EVENT_TYPES",
    "AttemptEvent",
    "AttemptRecorder",
    "BaseRecorder",
    "DummyRecorder",
    "DummyRecorderConfig",
    "Encode",
    "EventEncoder",
    "Filter",
    "TransactionalRecorder",
    "dropped_types",
    "file_reference",
    "load_events",
    "pickle_event",
    "recorded_form",
    "recorder",
]

logger = logging.getLogger("nanoeval.recorder")

EVENT_TYPES = ("match", "sampling", "sample_completed", "error", "extra")
"""What attempts record. A run's `final_report` is the runner's to write."""
RESULT_TYPES = frozenset({"match", "sample_completed", "record_match"})
"""What says how an attempt went: never kept of an attempt that did not count."""

recorder: ContextVar[RecorderProtocol] = ContextVar("nanoeval_recorder")
"""The current recorder."""

# Whose events a `BaseRecorder` gets, in the context that records them.
_ids: ContextVar[tuple[str, str] | tuple[None, None]] = ContextVar("ids", default=(None, None))

_UTC = datetime.UTC
_now = datetime.datetime.now

Filter = tuple[frozenset[str], int]
"""AttemptEvent types to leave out, save for one question in so many (0: for all questions)."""


Encode = Callable[..., bytes]
"""Gives the bytes of an event from its fields, in the order of `AttemptEvent`. Never raises
`Exception`."""


class AttemptEvent(NamedTuple):
    """One thing that was recorded.

    Attributes:
        type: one of `EVENT_TYPES`, `file`, or a recorder's own.
        data: what was given, by the parameters of the `record_…` call; for `extra`, the data.
        sample_id: the task's `question_id`, or what the eval bound in its place.
        group_id: `attempt.retry`, or what the eval bound in its place.
        time: UTC.
        extra: the further fields that `as_default_recorder` bound.
    """

    type: str
    data: Any
    sample_id: str | None
    group_id: str | None
    time: datetime.datetime
    extra: Mapping[str, Any] | None = None


class BaseRecorder(RecorderProtocol, ABC):
    """A recorder of your own: implement `record_event`, and `evalboard_url` if it has a page.

    The runner calls it in the driver only, on one thread, with the events of completed attempts.
    `current_sample_id()` and `current_group_id()` say whose event it is.

    Args:
        run_spec: the run's ids; by default those of the run whose recorder is being built.
    """

    def __init__(self, run_spec: RunSpec | None = None) -> None:
        self.run_spec = run_spec or current_run_spec() or BasicRunSpec("none", "none")

    @abstractmethod
    def record_event(self, event_type: str, data: Any) -> None:
        """Take one event.

        Args:
            event_type: `match`, `sampling`, `sample_completed`, `error`, `extra`, `final_report`,
                `file`.
            data: what was recorded: a dict by field name, except for `extra` and `final_report`,
                which are whatever the eval gave.
        """

    def event(self, event_type: str, data: Any) -> None:
        """Take what a `record_…` call was given."""
        self.record_event(event_type, recorded_form(event_type, data))

    def record_match(
        self,
        correct: bool,
        *,
        expected: Any = None,
        picked: Any = None,
        prob_correct: float | None = None,
        **extra: Any,
    ) -> None:
        data = {"correct": correct, "expected": expected, "picked": picked}
        if prob_correct is not None:
            data["prob_correct"] = prob_correct
        self.event("match", {**data, **extra} if extra else data)

    def record_sampling(
        self,
        prompt: Any,
        sampled: Any,
        *,
        extra_allowed_metadata_fields: list[str] | None = None,
        **extra: Any,
    ) -> None:
        """Record what a model was asked and what it replied, one text or a list of them.

        Nothing is filtered: `extra_allowed_metadata_fields` is accepted and has no effect here.
        """
        data = {"prompt": prompt, "sampled": sampled}
        if extra_allowed_metadata_fields is not None:
            data["extra_allowed_metadata_fields"] = extra_allowed_metadata_fields
        self.event("sampling", {**data, **extra} if extra else data)

    def record_sample_completed(self, **extra: Any) -> None:
        self.event("sample_completed", extra)

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None:
        self.event("error", {"msg": msg, "error": error, **kwargs})

    def record_extra(self, data: Any) -> None:
        self.event("extra", data)

    def record_final_report(self, final_report: Any) -> None:
        self.event("final_report", final_report)

    def record_file(self, content: bytes | str, media_type: str = "text/plain") -> str:
        """Keep a large text, an image, … once in the record; return the reference to it."""
        name = file_reference(content)
        data: dict[str, Any] = {"sha256": name.removeprefix("sha256:"), "media_type": media_type}
        if isinstance(content, str):
            data["text"] = content
        else:
            data["base64"] = base64.b64encode(content).decode()
        self.event("file", data)
        return name

    def current_sample_id(self) -> str | None:
        return _ids.get()[0]

    def current_group_id(self) -> str | None:
        return _ids.get()[1]

    @contextlib.contextmanager
    def as_default_recorder(self, sample_id: str, group_id: str, **extra: Any) -> Iterator[Any]:
        ids = _ids.set((sample_id, group_id))
        current = recorder.set(self)
        try:
            yield self
        finally:
            recorder.reset(current)
            _ids.reset(ids)


class AttemptRecorder(BaseRecorder):
    """What `get_recorder()` returns while an attempt runs: encodes and collects its events."""

    _extra: Mapping[str, Any] | None = None
    _dropped: frozenset[str] = frozenset()
    # By ids: what is bound to other ids inside the attempt shares them.
    _dialogues: dict[tuple[Any, Any], list[RecordedTurn]] | None = None
    _files: set[str] | None = None

    def __init__(self, encoder: EventEncoder, sample_id: str | None, group_id: str | None) -> None:
        self.run_spec = encoder.run_spec
        self._encoder = encoder
        self._sample_id = sample_id
        self._group_id = group_id
        self._lines: list[tuple[str, bytes]] = []  # by type of event
        if encoder.filters:
            self._dropped = dropped_types(encoder.filters, sample_id)
        if encoder.methods:
            self._add_own_methods()

    def event(self, event_type: str, data: Any) -> None:
        encode = self._encoder.encode
        if encode is None or event_type in self._dropped:
            return
        if event_type == "sampling":
            if type(data) is dict and type(data.get("prompt")) is list:
                data = {**data, "prompt": self._folded(data)}
        elif event_type == "file":
            if self._files is None:
                self._files = set()
            if data["sha256"] in self._files:
                return
            self._files.add(data["sha256"])
        line = encode(event_type, data, self._sample_id, self._group_id, _now(_UTC), self._extra)
        self._lines.append((event_type, line))

    def record_event(self, event_type: str, data: Any) -> None:
        """Record an event of a type of one's own."""
        self.event(event_type, dict(data) if type(data) is dict else data)

    def record_final_report(self, final_report: Any) -> None:
        """Record it as an extra event: the final report of a run is the runner's to write."""
        self.event("extra", {"final_report": final_report})

    def _folded(self, data: dict[str, Any]) -> list[Any]:
        prompt: list[Any] = data["prompt"]
        if not self._encoder.folds_dialogues:
            return prompt
        if self._dialogues is None:
            self._dialogues = {}
        ids = data.get("sample_id", self._sample_id), data.get("group_id", self._group_id)
        turns = self._dialogues.setdefault(ids, [])
        before = len(turns)
        try:
            return fold(prompt, data.get("sampled"), turns)
        except Exception:  # noqa: BLE001  what cannot even be compared is recorded whole
            turns[before:] = [([], [], [])]
            return prompt

    def _add_own_methods(self) -> None:
        """Make the run's recorder's own `record_…` methods events, like those of the protocol."""
        for name in self._encoder.methods:  # not by `__getattr__`, which slows every attribute
            self.__dict__[name] = functools.partial(self._call_own, name)

    def _call_own(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.event(name, (args, kwargs))

    def current_sample_id(self) -> str | None:
        return self._sample_id

    def current_group_id(self) -> str | None:
        return self._group_id

    @contextlib.contextmanager
    def as_default_recorder(
        self, sample_id: str, group_id: str, **extra: Any
    ) -> Iterator[AttemptRecorder]:
        """Record under other ids inside the `with`; the events stay part of this attempt."""
        self._dialogues = self._dialogues or {}
        self._files = self._files or set()
        bound = type(self)(self._encoder, sample_id, group_id)
        bound.__dict__.update(self.__dict__, _sample_id=sample_id, _group_id=group_id)
        bound._extra = {**(self._extra or {}), **extra} or None
        bound._add_own_methods()
        token = recorder.set(bound)
        try:
            yield bound
        finally:
            recorder.reset(token)

    def evalboard_url(self, view: View) -> str | None:
        return self._encoder.urls.get(view)

    def take(self, *, completed: bool) -> bytes:
        """Return the attempt's events, encoded, and forget them.

        Args:
            completed: False when the attempt ended in a system error: nothing that looks like a
                result (a match, …) is among the bytes then.
        """
        lines = self._lines
        if not lines:
            return b""
        kept = lines if completed else [one for one in lines if one[0] not in RESULT_TYPES]
        taken = b"".join([line for _, line in kept])
        lines.clear()  # in place: what is bound to other ids shares them
        return taken


@dataclasses.dataclass(frozen=True, slots=True)
class EventEncoder:
    """An executor's half of a run's recorder; picklable, it holds no file or connection.

    Attributes:
        urls: `evalboard_url` by view.
        encode: gives the bytes of an event; None keeps no events.
        methods: further methods, called `record_…`, that the run's recorder has.
        records_completion: whether `record_sample_completed()` without fields says something
            that the match does not.
        folds_dialogues: whether prompts refer to what they repeat (`nanoeval_core.dialogues`).
    """

    run_spec: RunSpec
    urls: Mapping[View, str | None]
    encode: Encode | None
    filters: Sequence[Filter] = ()
    methods: frozenset[str] = frozenset()
    records_completion: bool = True
    folds_dialogues: bool = True

    def attempt(self, sample_id: str | None, group_id: str | None) -> AttemptRecorder:
        """Return the recorder of one attempt; of no sample for what is recorded outside of them."""
        return AttemptRecorder(self, sample_id, group_id)


def pickle_event(*fields: Any) -> bytes:
    """Return a snapshot of an event; parts that cannot be pickled become their `repr`."""
    try:
        pickled = pickle.dumps(fields, pickle.HIGHEST_PROTOCOL)
        pickle.loads(pickled)
    except Exception:  # noqa: BLE001  the slow path has an answer for whatever is wrong
        return pickle.dumps(_picklable(fields), pickle.HIGHEST_PROTOCOL)
    return pickled


def load_events(events: Sequence[bytes]) -> Iterator[list[AttemptEvent]]:
    """Yield the events of each attempt, from what `pickle_event` gave."""
    for chunk in filter(None, events):
        stream, attempt = io.BytesIO(chunk), []
        while stream.tell() < len(chunk):
            attempt.append(AttemptEvent(*pickle.load(stream)))
        yield attempt


def _picklable(value: Any, depth: int = 0) -> Any:
    if depth < 50 and type(value) in (tuple, list, set, frozenset):
        return type(value)(_picklable(part, depth + 1) for part in list(value))
    if depth < 50 and type(value) is dict:
        return {_picklable(k, depth + 1): _picklable(v, depth + 1) for k, v in list(value.items())}
    try:
        pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001  its text stands for it
        if isinstance(value, BaseException):
            return RuntimeError(f"{type(value).__name__}: {_text(value)}")
        return _text(value)
    return value


def _text(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  said instead of the value
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


class TransactionalRecorder(BaseRecorder):
    """A recorder whose events are committed with the result that they belong to.

    Attempts encode their events with what `encoder()` returns; the bytes are stored in the
    transaction that stores the result; the driver passes them, in the order of commits and once,
    to `write_events`, then stores `position()`. After a crash it calls `rewind` with the last
    stored position before it writes again, and that must undo whatever was written after it.

    Attributes:
        writes_at_once: whether a write takes microseconds (to a local file, say). Events of tasks
            that ran in the driver are then written just before the transaction that commits their
            results and their position; a transaction that fails is followed by `rewind`.
        encode: gives the bytes of an event in an executor: picklable. None keeps no events.
        filters: what attempts leave out.
        records_completion: as `EventEncoder` has it, and so `folds_dialogues`.
    """

    writes_at_once = False
    encode: Encode | None = staticmethod(pickle_event)
    filters: tuple[Filter, ...] = ()
    records_completion = True
    folds_dialogues = True

    def encoder(self) -> EventEncoder:
        """Return what executors make the recorders of attempts with."""
        return EventEncoder(
            self.run_spec,
            {"run": self.evalboard_url("run"), "monitor": self.evalboard_url("monitor")},
            self.encode,
            self.filters,
            records_completion=self.records_completion,
            folds_dialogues=self.folds_dialogues,
        )

    @abstractmethod
    def write_events(self, events: Sequence[bytes]) -> None:
        """Write what `AttemptRecorder.take` returned. May block: it is called on a thread."""

    @abstractmethod
    def position(self) -> str:
        """Name all that was written so far by an opaque text. Empty: nothing was."""

    @abstractmethod
    def rewind(self, position: str) -> None:
        """Undo what was written after `position`."""

    @abstractmethod
    def record_final_report(self, final_report: Any) -> None:
        """Write what the run came to; called again, it replaces the former report."""

    def event(self, event_type: str, data: Any) -> None:
        """Record outside of the runner's attempts: written when it returns."""
        attempt = self.encoder().attempt(self.current_sample_id(), self.current_group_id())
        attempt.event(event_type, data)
        self.write_events([attempt.take(completed=True)])

    def record_event(self, event_type: str, data: Any) -> None:
        self.event(event_type, data)

    @contextlib.contextmanager
    def as_default_recorder(self, sample_id: str, group_id: str, **extra: Any) -> Iterator[Any]:
        """Record an attempt outside of the runner: written when the `with` block ends."""
        attempt = self.encoder().attempt(sample_id, group_id)
        completed = True
        try:
            with attempt.as_default_recorder(sample_id, group_id, **extra) as bound:
                yield bound
        except RolloutSystemError:
            completed = False
            raise
        finally:
            self.write_events([attempt.take(completed=completed)])


class DummyRecorder(TransactionalRecorder):
    """Keeps nothing; with `log`, samplings are logged at INFO."""

    writes_at_once = True
    records_completion = False

    def __init__(self, run_spec: RunSpec | None = None, *, log: bool = False) -> None:
        self.run_spec = run_spec or current_run_spec() or BasicRunSpec("dummy", "dummy")
        self.encode = _log_sampling if log else None

    def write_events(self, events: Sequence[bytes]) -> None:
        pass

    def position(self) -> str:
        return ""

    def rewind(self, position: str) -> None:
        pass

    def record_final_report(self, final_report: Any) -> None:
        pass


def _log_sampling(event_type: str, data: Any, *_: object) -> bytes:
    if event_type == "sampling":
        logger.info("sampling: %s", data)
    return b""


@chz.chz
class DummyRecorderConfig(RecorderConfig):
    """Records nothing. As a context manager it makes a dummy recorder current."""

    log: bool = chz.field(default=False, doc="Log samplings at INFO.")

    async def factory(self, spec: Any, num_tasks: int) -> DummyRecorder:
        return DummyRecorder(log=self.log)

    def __enter__(self) -> AttemptRecorder:
        current = DummyRecorder(log=self.log).encoder().attempt(None, None)
        self.__dict__.setdefault("_tokens", []).append(recorder.set(current))
        return current

    def __exit__(self, *exc: object) -> None:
        recorder.reset(self.__dict__["_tokens"].pop())


# --- what events look like


def file_reference(content: bytes | str) -> str:
    """Return what a kept file is called in the events that refer to it: `sha256:…`."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def recorded_form(event_type: str, data: Any) -> Any:
    """Return the `data` of an event as records have it, in the evallib format's terms.

    `data` is what a `record_…` call was given; a dict of its fields is changed in place.
    """
    if event_type == "match" and type(data) is dict:
        if "correct" in data:
            data["correct"] = as_bool(data["correct"])
    elif event_type == "sampling" and type(data) is dict:
        if type(sampled := data.get("sampled")) is str:
            data["sampled"] = [sampled]
        elif "sampled" in data:
            data["sampled"] = as_list(sampled)
        data.pop("extra_allowed_metadata_fields", None)
    elif event_type == "error" and type(data) is dict:
        msg, error = data.pop("msg", None), data.pop("error", None)
        kind = type(error).__name__ if error is not None else None
        message = text_of(error) if error is not None else msg
        return {"type": kind, "message": message, "msg": msg, **data}
    return data


def text_of(error: Any) -> str:
    """Return the text of an error, or say that it has none. Never raises `Exception`."""
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001  an exception of the user's, whatever it does
        return f"<its __str__ raised {type(failure).__name__}>"


def as_bool(value: Any) -> Any:
    """Return `value` as a bool (numpy's too), or itself when it has no truth value."""
    try:
        return bool(value) if value == value else value  # NaN is not true
    except Exception:  # noqa: BLE001  an array, say: recorded as it is rather than guessed
        return value


def as_list(value: Any) -> list[Any]:
    """Return `value` as the list of replies that a sampling has. Never raises `Exception`."""
    if value is None:
        return []
    try:
        if isinstance(value, list):
            return value
        return list(value) if isinstance(value, tuple) else [value]
    except Exception:  # noqa: BLE001  not even asking is safe: recorded as one value
        return [value]


# --- filters


def dropped_types(filters: Iterable[Filter], sample_id: str | None) -> frozenset[str]:
    """Return the event types that `filters` leave out for a question: the same in every run."""
    name = (sample_id or "").encode("utf-8", "backslashreplace")
    dropped = [types for types, n in filters if not (n and zlib.crc32(name) % n == 0)]
    return frozenset().union(*dropped)
