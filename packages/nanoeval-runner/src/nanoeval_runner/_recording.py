"""Carries committed events from the state file to the recorder, in order and once each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence

import anyio.to_thread
from nanoeval_core.recording import TransactionalRecorder

from nanoeval_runner._queue import event_log
from nanoeval_runner._queue.exchange import exchange
from nanoeval_runner._queue.paths import shared_dir
from nanoeval_runner._queue.rows import Completion, ExchangeReply, ExchangeRequest
from nanoeval_runner._queue.store import Store

log = logging.getLogger("nanoeval.runner")

SLOW_WRITE = 0.1
"""Seconds: a record that takes longer to write to is no longer written while results wait."""

COMMITS_A_WRITE = 64
"""How many commits' events are read at a time: what bounds the memory of a slow recorder."""


@contextlib.contextmanager
def opened(recorder: TransactionalRecorder) -> Iterator[None]:
    """Enter a recorder, raising what that raises; leave it, losing nothing to what that raises."""
    recorder.__enter__()
    ending: BaseException | None = None
    try:
        yield
    except BaseException as error:
        ending = error
        raise
    finally:
        try:
            recorder.__exit__(type(ending) if ending else None, ending, None)
        except Exception:
            log.exception("the recorder could not be closed; the run's results are kept")


class RecordWriter:
    """Writes one eval's committed events to its recorder while the eval runs.

    A recorder that fails is reported once and left alone from then on; its events stay in the
    state file, so that resuming the run writes them.

    Args:
        in_driver: whether all of the eval's tasks run in this process: events need not pass
            through the state file then.

    Attributes:
        failure: what the recorder raised, None while all is well.
    """

    def __init__(
        self, store: Store, eval_id: int, recorder: TransactionalRecorder, *, in_driver: bool
    ) -> None:
        self._store = store
        self._folder = shared_dir(store.path)
        self._eval_id = eval_id
        self._recorder = recorder
        self._more = asyncio.Event()
        self._finish = False
        self._written = 0
        self._direct = False
        self._may_be_direct: bool = in_driver and getattr(recorder, "writes_at_once", False)
        self._before: str | None = None
        self.failure: BaseException | None = None

    def poke(self) -> None:
        """There may be new events."""
        if not self._direct:
            self._more.set()

    async def serve(self) -> None:
        """Write until `finish` is called and nothing is left."""
        while True:
            self._more.clear()
            finishing = self._finish
            wrote = await self._write_some()
            if not wrote:
                if finishing:
                    return
                if await self._go_direct():
                    await self._more.wait()

    # Events of the executor in this process need not go through the state file: they are written
    # in the transaction that commits their results, which also commits the position after them.
    # These run on the store's thread, where no other transaction comes between.

    async def _go_direct(self) -> bool:
        """Write directly from now on, if the recorder may; False when events wait to be written."""
        if not self._may_be_direct or self.failure is not None:
            return True

        def switch(connection: sqlite3.Connection) -> bool:
            self._direct = not event_log.has_events(connection, self._eval_id)
            return self._direct

        self._may_be_direct = not await self._store.call(switch)
        return not self._may_be_direct

    def write_directly(self, events: list[bytes]) -> str | None:
        """Write `events` and give the position after them; None when they must be logged."""
        if not self._direct or self.failure is not None:
            return None
        start = time.perf_counter()
        try:
            if self._before is None:
                self._before = self._recorder.position()
            self._recorder.write_events(events)
            position = self._recorder.position()
        except Exception:  # noqa: BLE001  they are logged; writing them from there reports it
            self._direct = False
            return None
        if time.perf_counter() - start > SLOW_WRITE:
            self._direct = False
        return position

    def settle(self, *, committed: bool) -> None:
        """The transaction in which `write_directly` was called is over."""
        before, self._before = self._before, None
        if before is None or committed:
            return
        try:
            self._recorder.rewind(before)
        except Exception as error:  # noqa: BLE001  recorded in `failure` and reported
            self._direct = False
            self.fail(error)

    def finish(self) -> None:
        self._finish = True
        self._more.set()

    async def _write_some(self) -> bool:
        if self.failure is not None:
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

    def guarded(self) -> contextlib.AbstractContextManager[None]:
        """Run other calls of the recorder under the same rule."""
        return _Guard(self)


class _Guard(contextlib.AbstractContextManager[None]):
    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> bool:
        if isinstance(exc, Exception):
            self._writer.fail(exc)
            return True
        return False


class RecordingSource:
    """The queue of the driver's own executor: events are recorded with the results they belong to.

    Attributes:
        writers: the writer of each eval's record.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.writers: dict[int, RecordWriter] = {}

    async def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        return await self._store.call(self._exchange, request)

    async def fail_eval(self, eval_id: int, error: bytes) -> None:
        await self._store.fail_eval(eval_id, error)

    def _exchange(self, connection: sqlite3.Connection, request: ExchangeRequest) -> ExchangeReply:
        committed = False
        try:
            reply = exchange(connection, request, self._write)
            committed = True
        finally:
            for writer in list(self.writers.values()):
                writer.settle(committed=committed)
        return reply

    def _write(self, completions: Sequence[Completion]) -> dict[int, str]:
        events: dict[int, list[bytes]] = {}
        for completion in completions:
            if completion.events:
                events.setdefault(completion.eval_id, []).append(completion.events)
        positions = {}
        for eval_id, chunks in events.items():
            writer = self.writers.get(eval_id)
            position = writer.write_directly(chunks) if writer is not None else None
            if position is not None:
                positions[eval_id] = position
        return positions
