"""One eval's record, as the driver writes it: in the results' transaction, or from the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator

import anyio.to_thread
from nanoeval_core.recording import TransactionalRecorder

from nanoeval_runner._queue import event_log
from nanoeval_runner._queue.paths import shared_dir
from nanoeval_runner._queue.store import Store

log = logging.getLogger("nanoeval.runner")

SLOW_WRITE = 0.1
"""Seconds: a record that takes longer to write to is no longer written while results wait."""

COMMITS_A_WRITE = 64
"""How many commits' events are read at a time: what bounds the memory of a slow recorder."""


class RecordWriter:
    """Writes one eval's committed events to its recorder, in order and once each.

    A recorder that fails is reported once and left alone from then on; its events stay in the
    state file, so that resuming the run writes them.

    Attributes:
        direct: events of tasks that run in this process are written in the transaction that
            commits their results. It is set before the first of them, and never again after a
            write that failed or took long: events are logged and written by `serve` from then on.
        failure: what the recorder raised, None while all is well.
    """

    def __init__(self, store: Store, eval_id: int, recorder: TransactionalRecorder) -> None:
        self._store = store
        self._folder = shared_dir(store.path)
        self._eval_id = eval_id
        self._recorder = recorder
        self._more = asyncio.Event()
        self._is_last = False
        self._written = 0
        self._before: str | None = None
        self.direct = False
        self.failure: BaseException | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Enter the recorder, raising what that raises; lose nothing to what leaving it raises."""
        self._recorder.__enter__()
        ending: BaseException | None = None
        try:
            yield
        except BaseException as error:
            ending = error
            raise
        finally:
            try:
                self._recorder.__exit__(type(ending) if ending else None, ending, None)
            except Exception:
                log.exception("the recorder could not be closed; the run's results are kept")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Call the recorder: what it raises is reported once, and costs no result."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  recorded in `failure` and reported
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Report the recorder's failure, the first time."""
        if self.failure is None:
            self.failure = error
            log.error(
                "the recorder failed (%s: %s). The run goes on and keeps its results and events in "
                "the state file; resume it once the recorder works again to write the rest",
                type(error).__name__,
                error,
            )

    # --- in the transaction, on the store's thread

    def write(self, events: list[bytes]) -> str | None:
        """Write `events` and return the position after them; None when they are to be logged."""
        if not self.direct:
            return None
        start = time.perf_counter()
        try:
            before = self._recorder.position()
            self._recorder.write_events(events)
            position = self._recorder.position()
        except Exception:  # noqa: BLE001  they are logged; writing them from there reports it
            self.direct = False
            return None
        self._before = before
        if time.perf_counter() - start > SLOW_WRITE:
            self.direct = False
        return position

    def settle(self, *, committed: bool) -> None:
        """Take back what `write` wrote unless its transaction was committed."""
        before, self._before = self._before, None
        if before is not None and not committed:
            try:
                self._recorder.rewind(before)
            except Exception as error:  # noqa: BLE001  recorded in `failure` and reported
                self.direct = False
                self.fail(error)

    # --- from the log

    async def start(self, position: str | None, *, in_driver: bool) -> None:
        """Go back to `position`, where an earlier run stopped, and write what is logged since."""
        if position is not None:
            with self.guarded():
                await anyio.to_thread.run_sync(self._recorder.rewind, position)
            while await self._write_some():
                pass
        self.direct = (
            in_driver and self.failure is None and getattr(self._recorder, "writes_at_once", False)
        )

    def poke(self) -> None:
        """Note that events may have been logged."""
        self._more.set()

    async def serve(self) -> None:
        """Write what is logged, until `finish` is called and nothing is left."""
        while True:
            await self._more.wait()
            self._more.clear()
            is_last = self._is_last
            while await self._write_some():
                pass
            if is_last:
                return

    def finish(self) -> None:
        self._is_last = True
        self._more.set()

    async def _write_some(self) -> bool:
        if self.failure is not None or self.direct:
            return False
        try:
            up_to, chunks = await self._store.call(
                event_log.read_events, self._folder, self._eval_id, self._written, COMMITS_A_WRITE
            )
            if not chunks:
                return False
            await anyio.to_thread.run_sync(
                self._recorder.write_events, chunks, abandon_on_cancel=True
            )
            position = self._recorder.position()
        except Exception as error:  # noqa: BLE001  recorded in `failure` and reported
            self.fail(error)
            return False
        self._written = up_to
        await self._store.call(
            event_log.events_recorded, self._folder, self._eval_id, position, up_to
        )
        return True
