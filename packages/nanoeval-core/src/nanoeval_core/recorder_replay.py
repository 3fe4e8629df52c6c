"""Makes any recorder transactional: what attempts record is kept, and replayed in the driver.

A third-party recorder knows nothing of executors or crashes. Its methods are called in the
driving process only, on one thread of their own, with what completed attempts recorded.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import logging
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self, cast

from nanoeval_core.errors import RecorderError
from nanoeval_core.recorder import set_default_recorder
from nanoeval_core.recorder_capture import (
    CallEncoder,
    CapturedAttempt,
    CapturedCalls,
    unpack_attempts,
)
from nanoeval_core.recorder_direct import DirectRecording
from nanoeval_core.recorder_protocol import (
    BasicRunSpec,
    RecorderProtocol,
    RunSpec,
    TransactionalRecorder,
    View,
)

logger = logging.getLogger(__name__)

STALL_TIMEOUT = 10.0  # seconds that one call of a third party's recorder may take


def as_transactional(recorder: RecorderProtocol) -> TransactionalRecorder:
    """`recorder` itself where it is transactional, else wrapped in a `ReplayedRecorder`."""
    if isinstance(recorder, TransactionalRecorder):
        return recorder
    return ReplayedRecorder(recorder)


class ReplayedRecorder(DirectRecording):
    """A `TransactionalRecorder` around one that only implements `RecorderProtocol`.

    A call that raises is reported once, counted, and passed over. A call that takes longer than
    `stall_timeout`, or as long as that in calls that all raise (a server that is gone answers each
    one with a timeout), is reported by a `RecorderError` and nothing is sent after it. Events are
    replayed in commit order; after a crash of the driver the last batch may be replayed again,
    since a recorder that cannot rewind cannot tell.

    Args:
        inner: the recorder to replay onto.
        stall_timeout: seconds that one of its methods may take.
        clock: in seconds; for tests.
    """

    def __init__(
        self,
        inner: RecorderProtocol,
        *,
        stall_timeout: float = STALL_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._thread = _CallThread(type(inner).__name__, stall_timeout)
        self._stall_timeout = stall_timeout
        self._clock = clock
        self._failures = 0
        self._seconds_failing = 0.0  # in the calls since the last one that did not raise
        self._replayed = 0

    @property
    def inner(self) -> RecorderProtocol:
        return self._inner

    @property
    def run_spec(self) -> RunSpec:
        return self._inner.run_spec

    def __enter__(self) -> Self:
        try:
            self._thread.call(self._inner.__enter__)
        except Exception as error:
            self._thread.stop()
            raise RecorderError(
                f"recorder {type(self._inner).__name__} cannot be entered: "
                f"{type(error).__name__}: {error}. Mend it, or choose another with "
                "RunnerArgs.recorder"
            ) from error
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._guarded("__exit__", lambda: self._inner.__exit__(exc_type, exc, traceback))
        self._thread.stop()
        if self._failures > 1:
            logger.error(
                "recorder %s: %d calls failed in all; only the first was shown",
                type(self._inner).__name__,
                self._failures,
            )

    def encoder(self) -> CallEncoder:
        extra_methods = frozenset(
            name
            for name in dir(type(self._inner))
            if name.startswith("record_") and not hasattr(CapturedAttempt, name)
        )
        return CallEncoder(
            run_spec=_picklable_run_spec(self._inner.run_spec),
            urls={view: self.evalboard_url(view) for view in ("run", "monitor")},
            extra_methods=extra_methods,
        )

    def write_events(self, events: Sequence[bytes]) -> None:
        """Replay what attempts took.

        Raises:
            RecorderError: a call hangs, or nothing but failing calls takes too long, now or
                earlier; the rest was not replayed.
        """
        for chunk in events:
            for attempt in unpack_attempts(chunk):
                self._thread.call(functools.partial(self._replay, attempt))
                if self._fails_too_long:
                    self._thread.give_up(
                        f"recorder {type(self._inner).__name__} has only failed, for "
                        f"{self._seconds_failing:.0f} s. Nothing more is sent to it; results are "
                        "not affected"
                    )
            self._replayed += 1

    def position(self) -> str:
        return str(self._replayed) if self._replayed else ""

    def rewind(self, position: str) -> None:
        """Only counts on from there: what a third party has received stays with it."""
        self._replayed = int(position) if position.isdecimal() else 0

    @property
    def _fails_too_long(self) -> bool:
        return self._seconds_failing > self._stall_timeout

    def _replay(self, attempt: CapturedCalls) -> None:
        started = self._clock()
        try:
            with self._bound(attempt) as target:
                for method, arguments, keywords in attempt.calls:
                    if self._fails_too_long:
                        return
                    self._thread.progress()
                    self._replay_call(target, method, arguments, keywords)
        except Exception as error:  # noqa: BLE001  reported; a recorder must not cost results
            self._seconds_failing += self._clock() - started
            self._report("as_default_recorder", error)

    @contextlib.contextmanager
    def _bound(self, attempt: CapturedCalls) -> Iterator[Any]:
        if attempt.sample_id is None:
            yield self._inner
            return
        group_id = attempt.group_id or ""
        with set_default_recorder(None):
            context = self._inner.as_default_recorder(attempt.sample_id, group_id, **attempt.extra)
            with context as bound:
                yield bound if hasattr(bound, "record_match") else self._inner

    def _replay_call(
        self, target: Any, method: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        started = self._clock()
        try:
            getattr(target, method)(*arguments, **keywords)
            self._seconds_failing = 0.0
        except Exception as error:  # noqa: BLE001  reported; a recorder must not cost results
            self._seconds_failing += self._clock() - started
            self._report(method, error)

    def _report(self, method: str, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            logger.error(
                "recorder %s failed in %s: %s: %s. Results are not affected; its record is "
                "incomplete",
                type(self._inner).__name__,
                method,
                type(error).__name__,
                error,
                exc_info=error,
            )

    def _guarded(self, method: str, call: Callable[[], Any]) -> None:
        if self._thread.stalled:  # said already, where it stalled
            return
        try:
            self._thread.call(call)
        except Exception as error:  # noqa: BLE001  reported; a recorder must not cost results
            self._report(method, error)

    def record_final_report(self, final_report: Any) -> None:
        self._guarded("record_final_report", lambda: self._inner.record_final_report(final_report))

    def evalboard_url(self, view: View) -> str | None:
        if self._thread.stalled:
            return None
        try:
            return cast("str | None", self._thread.call(lambda: self._inner.evalboard_url(view)))
        except Exception as error:  # noqa: BLE001  reported; a recorder must not cost results
            self._report("evalboard_url", error)
            return None


class _CallThread:
    """One daemon thread that makes calls one after the other; given up once a call stalls.

    A daemon: a third party's call that never returns must not keep the process alive.
    """

    def __init__(self, name: str, stall_timeout: float) -> None:
        self._name = name
        self._stall_timeout = stall_timeout
        # One caller at a time waits for its call, so this holds at most one, and then the end.
        self._calls: queue.Queue[tuple[Callable[[], Any], concurrent.futures.Future[Any]] | None]
        self._calls = queue.Queue()
        self._lock = threading.Lock()
        self._progress = 0
        self._thread: threading.Thread | None = None
        self._why_given_up = ""

    @property
    def stalled(self) -> bool:
        return bool(self._why_given_up)

    def call(self, function: Callable[[], Any]) -> Any:
        """What `function` returns or raises, from the thread.

        Raises:
            RecorderError: it makes no progress for `stall_timeout` seconds, or an earlier one
                did not.
        """
        with self._lock:
            if self.stalled:
                raise RecorderError(self._why_given_up)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"recorder-{self._name}", daemon=True
                )
                self._thread.start()
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            self._calls.put((function, future))
            return self._wait(future)

    def _wait(self, future: concurrent.futures.Future[Any]) -> Any:
        while True:
            before = self._progress
            done, _ = concurrent.futures.wait([future], timeout=self._stall_timeout)
            if done:
                return future.result()
            if self._progress == before:
                self.give_up(
                    f"recorder {self._name} hangs: a call took longer than "
                    f"{self._stall_timeout:g} s. Nothing more is sent to it; results are not "
                    "affected"
                )

    def give_up(self, why: str) -> NoReturn:
        """Make no further calls.

        Raises:
            RecorderError: always; `why` is its message, now and at each further call.
        """
        self._why_given_up = why
        self._calls.put(None)  # the thread ends, once the call that it is in does
        raise RecorderError(why)

    def progress(self) -> None:
        """Said by a call that consists of several: the next of them begins."""
        self._progress += 1

    def stop(self) -> None:
        if self._thread is not None and not self.stalled:
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


def _picklable_run_spec(run_spec: RunSpec) -> RunSpec:
    try:
        pickle.dumps(run_spec, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001  the ids alone can travel
        return BasicRunSpec(run_id=run_spec.run_id, run_set_id=run_spec.run_set_id)
    return run_spec
