"""Feeds a third party's recorder from events: the calls of completed attempts, in the driver.

Such a recorder knows nothing of executors or crashes. Its methods are called in the driver only,
on one thread of their own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any, NoReturn, Self

from nanoeval_core.dialogues import RecordedTurn, unfold
from nanoeval_core.errors import RecorderError
from nanoeval_core.recorder_protocol import BasicRunSpec, RecorderProtocol, RunSpec, View
from nanoeval_core.recording import (
    AttemptEvent,
    AttemptRecorder,
    EventEncoder,
    TransactionalRecorder,
    load_events,
    recorder,
)

__all__ = ["ThirdPartyRecorder", "as_transactional", "unfolded_events"]

logger = logging.getLogger(__name__)

_STALL_TIMEOUT = 10.0  # seconds that one call of a third party's recorder may take


def as_transactional(recorder: RecorderProtocol) -> TransactionalRecorder:
    """Return `recorder` itself where it is transactional, else a `ThirdPartyRecorder` of it."""
    if isinstance(recorder, TransactionalRecorder):
        return recorder
    return ThirdPartyRecorder(recorder)


class ThirdPartyRecorder(TransactionalRecorder):
    """A `TransactionalRecorder` around one that only implements `RecorderProtocol`.

    A call that raises is reported once, counted, and passed over. A call that takes longer than
    `stall_timeout`, or as long as that in calls that all raise (a server that is gone answers each
    one with a timeout), is reported by a `RecorderError` and nothing is sent after it. After a
    crash of the driver the last batch may be sent again, since a recorder that cannot go back
    cannot tell.

    Args:
        inner: the recorder that is called.
        stall_timeout: seconds that one of its methods may take.
        clock: in seconds; for tests.
    """

    def __init__(
        self,
        inner: RecorderProtocol,
        *,
        stall_timeout: float = _STALL_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_spec = inner.run_spec
        self.inner = inner
        self._name = type(inner).__name__
        self._stall_timeout = stall_timeout
        self._clock = clock
        self._failures = 0
        self._seconds_failing = 0.0  # in the calls since the last one that did not raise
        self._written = 0
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]
        self._calls = queue.SimpleQueue()
        self._calling = threading.Lock()  # one caller at a time waits for its call
        self._thread: threading.Thread | None = None
        self._steps = 0  # calls of the recorder that have begun
        self._given_up = ""  # why

    def __enter__(self) -> Self:
        try:
            self._on_thread(self.inner.__enter__)
        except Exception as error:
            self._stop()
            raise RecorderError(
                f"recorder {self._name} cannot be entered: "
                f"{type(error).__name__}: {error}. Mend it, or choose another with "
                "RunnerArgs.recorder"
            ) from error
        return self

    def __exit__(self, *exc: Any) -> None:
        self._guarded("__exit__", lambda: self.inner.__exit__(*exc))
        self._stop()
        if self._failures > 1:
            logger.error(
                "recorder %s: %d calls failed in all; only the first was shown",
                self._name,
                self._failures,
            )

    def encoder(self) -> EventEncoder:
        own = {name for name in dir(type(self.inner)) if name.startswith("record_")}
        methods = frozenset(own - set(dir(AttemptRecorder)))
        spec: RunSpec = self.inner.run_spec
        try:
            pickle.dumps(spec, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001  the ids alone can travel
            spec = BasicRunSpec(run_id=spec.run_id, run_set_id=spec.run_set_id)
        return dataclasses.replace(super().encoder(), run_spec=spec, methods=methods)

    def write_events(self, events: Sequence[bytes]) -> None:
        """Call the recorder with what attempts took.

        Raises:
            RecorderError: a call hangs, or nothing but failing calls takes too long, now or
                earlier; the rest was not sent.
        """
        for attempt in load_events(events):
            self._on_thread(functools.partial(self._send, attempt))
            if self._seconds_failing > self._stall_timeout:
                self._give_up(f"has only failed, for {self._seconds_failing:.0f} s")
            self._written += 1

    def position(self) -> str:
        return str(self._written) if self._written else ""

    def rewind(self, position: str) -> None:
        """Count on from there: what a third party has received stays with it."""
        self._written = int(position) if position.isdecimal() else 0

    def _send(self, attempt: list[AttemptEvent]) -> None:
        for (sample_id, group_id, extra), events in itertools.groupby(
            unfolded_events(attempt),
            key=lambda event: (event.sample_id, event.group_id, event.extra),
        ):
            with contextlib.ExitStack() as stack:
                target: Any = self.inner
                if sample_id is not None:
                    stack.callback(recorder.reset, recorder.set(target))
                    ids = sample_id, group_id or ""
                    try:
                        context = target.as_default_recorder(*ids, **(extra or {}))
                        bound = stack.enter_context(context)
                        target = bound if hasattr(bound, "record_match") else target
                    except Exception as error:  # noqa: BLE001  reported; the events go on unbound
                        self._report("as_default_recorder", error)
                for event in events:
                    if self._seconds_failing > self._stall_timeout:
                        return
                    self._steps += 1
                    self._call(target, event)

    def _call(self, target: Any, event: AttemptEvent) -> None:
        started = self._clock()
        try:
            _send_event(target, event)
            self._seconds_failing = 0.0
        except Exception as error:  # noqa: BLE001  reported; a recorder must not cost results
            self._seconds_failing += self._clock() - started
            self._report(_METHODS.get(event.type, (event.type,))[0], error)

    def _report(self, method: str, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            logger.error(
                "recorder %s failed in %s: %s: %s. Results are not affected; its record is "
                "incomplete",
                self._name,
                method,
                type(error).__name__,
                error,
                exc_info=error,
            )

    def _guarded(self, method: str, call: Callable[[], Any]) -> Any:
        if self._given_up:  # said already, where it stalled
            return None
        try:
            return self._on_thread(call)
        except Exception as error:  # noqa: BLE001  reported; a recorder must not cost results
            self._report(method, error)

    def record_final_report(self, final_report: Any) -> None:
        self._guarded("record_final_report", lambda: self.inner.record_final_report(final_report))

    def evalboard_url(self, view: View) -> str | None:
        url: str | None = self._guarded("evalboard_url", lambda: self.inner.evalboard_url(view))
        return url

    # --- calls, one after the other on one thread

    def _on_thread(self, function: Callable[[], Any]) -> Any:
        """Return what `function` returns, or raise what it raises.

        Raises:
            RecorderError: no step of it begins for `stall_timeout` seconds, or the recorder was
                given up before.
        """
        with self._calling:
            if self._given_up:
                raise RecorderError(self._given_up)
            if self._thread is None:
                # A daemon: a call that never returns must not keep the process alive.
                self._thread = threading.Thread(
                    target=self._work, name=f"recorder-{self._name}", daemon=True
                )
                self._thread.start()
            future: Future[Any] = Future()
            self._calls.put((function, future))
            steps = self._steps
            while not wait([future], timeout=self._stall_timeout).done:
                if self._steps == steps:
                    self._give_up(f"hangs: a call took longer than {self._stall_timeout:g} s")
                steps = self._steps
            return future.result()

    def _give_up(self, why: str) -> NoReturn:
        self._given_up = (
            f"recorder {self._name} {why}. Nothing more is sent to it; results are not affected"
        )
        self._calls.put(None)  # the thread ends, once the call that it is in does
        raise RecorderError(self._given_up)

    def _stop(self) -> None:
        if self._thread is not None and not self._given_up:
            self._calls.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            function, future = item
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  raised again in the caller
                future.set_exception(error)


_METHODS = {  # and which of their arguments are given by position
    "match": ("record_match", ["correct"]),
    "sampling": ("record_sampling", ["prompt", "sampled"]),
    "sample_completed": ("record_sample_completed", []),
    "error": ("record_error", ["msg", "error"]),
}
_OPTIONAL = ("expected", "picked", "prob_correct")


def _send_event(target: Any, event: AttemptEvent) -> None:
    """Make the call of `target` that `event` was recorded by."""
    data = event.data
    if event.type in _METHODS and isinstance(data, dict):
        fields = dict(data)
        method, positional = _METHODS[event.type]
        given = [fields.pop(name, None) for name in positional]
        for name in _OPTIONAL if event.type == "match" else ():
            if fields.get(name, ...) is None:
                del fields[name]
        getattr(target, method)(*given, **fields)
    elif event.type == "extra":
        target.record_extra(data)
    elif event.type.startswith("record_"):  # a method of its own
        args, kwargs = data
        getattr(target, event.type)(*args, **kwargs)
    elif hasattr(target, "record_event"):
        target.record_event(event.type, data)


def unfolded_events(events: Iterable[AttemptEvent]) -> Iterator[AttemptEvent]:
    """Yield `events`, with what prompts of long dialogues repeat of earlier ones put back."""
    turns: dict[Any, list[RecordedTurn]] = {}
    for event in events:
        data = event.data
        if event.type == "sampling" and type(data) is dict and type(data.get("prompt")) is list:
            ids = data.get("sample_id", event.sample_id), data.get("group_id", event.group_id)
            whole = unfold(data["prompt"], data.get("sampled"), turns.setdefault(ids, []))
            yield event._replace(data={**data, "prompt": whole})
        else:
            yield event
