"""The threads of `asyncio.to_thread`: as many as tasks may run, and none that holds the process.

Python's own pool has at most 32 threads (cores + 4), and joins them before the process may end: an
eval of concurrency 500 whose `evaluate` awaits `asyncio.to_thread` would run 6 tasks at a time on
a machine of 2 cores, and one call that hangs would hang the program for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

log = logging.getLogger("nanoeval.runner")

P = ParamSpec("P")
T = TypeVar("T")

FEWEST, MOST = 64, 4096
IDLE_SECONDS = 5.0
"""How long a thread waits for its next call before it ends."""

END_SECONDS = 2.0
"""How long calls may go on after the event loop has closed, before they are left behind."""


class EvalThreads(ThreadPoolExecutor):
    """Daemon threads, made when needed, that end when idle.

    It is a `ThreadPoolExecutor` because asyncio takes no other; every method that does anything is
    its own.
    """

    def __init__(self, limit: int = FEWEST) -> None:
        super().__init__(max_workers=1)  # starts nothing
        self.limit = limit
        self._changed = threading.Condition()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._alive = 0
        self._idle = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the event loop is closing: no thread can be started for it")
            self._calls.append((future, lambda: fn(*args, **kwargs)))
            if self._idle >= len(self._calls):
                self._changed.notify()
            elif self._alive < self.limit:
                self._alive += 1
                threading.Thread(target=self._work, name="nanoeval-thread", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._calls or self._closed, IDLE_SECONDS)
                self._idle -= 1
                if not self._calls:
                    self._alive -= 1
                    self._changed.notify_all()
                    return
                future, call = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001  raised where the call is awaited
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del future, call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait a little for those that run, and say so of those that hang."""
        deadline = time.monotonic() + END_SECONDS
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while wait and self._alive and time.monotonic() < deadline:
                self._changed.wait(max(0.0, deadline - time.monotonic()))
            left = self._alive if wait else 0
        if left:
            log.warning(
                "left behind: %d calls of asyncio.to_thread are still running; the process does "
                "not wait for them",
                left,
            )


_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, EvalThreads]
_of_loop = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def properly_closed_thread_pool(n_threads: int = 10_000) -> Iterator[None]:
    """Have `asyncio.to_thread` on this event loop run `n_threads` calls at a time.

    Leaving it ends the threads that are idle, and waits for none.
    """
    loop = asyncio.get_running_loop()
    threads = _of_loop[loop] = EvalThreads(n_threads)
    loop.set_default_executor(threads)
    try:
        yield
    finally:
        del _of_loop[loop]
        threads.shutdown(wait=False)


@contextlib.contextmanager
def held_by_no_thread() -> Iterator[None]:
    """End the process after the block although threads begun in it go on; say which they are.

    For programs that are ours to end. Python waits for every thread that is no daemon.
    """
    before = set(threading.enumerate())
    code: object = 0
    try:
        yield
    except SystemExit as ending:
        code = ending.code
        raise
    finally:
        leave_threads_behind(before, code)


def leave_threads_behind(before: set[threading.Thread], code: object) -> None:
    """End the process as `SystemExit(code)` would, if threads begun since go on; name them."""
    if left := _still_there(_begun_since(before)):
        sys.stderr.write(f"left behind: threads that tasks began: {left}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1 if code else 0)


def name_threads_that_hold_the_process(before: set[threading.Thread]) -> None:
    """Say it when the program has come to its end, and Python waits for threads begun since.

    The program is not ours to end: with which code it would exit is nowhere to be read.
    """
    begun = _begun_since(before)
    if not begun:
        return

    def watch() -> None:
        threading.main_thread().join()
        if left := _still_there(begun):
            sys.stderr.write(
                f"the process waits for threads that were begun during a run: {left}. Begin them "
                "with daemon=True; `nanoeval run` and nanoeval_entrypoint wait for none\n"
            )
            sys.stderr.flush()

    threading.Thread(target=watch, name="nanoeval-left-threads", daemon=True).start()


def _begun_since(before: set[threading.Thread]) -> set[threading.Thread]:
    """Return the threads begun since that Python waits for, without anyio's, which end by then."""
    begun = set()
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon and not type(thread).__module__.startswith("anyio."):
            begun.add(thread)
    return begun


def _still_there(threads: set[threading.Thread]) -> str:
    """Give threads a little time to end; return the names of those that have not."""
    deadline = time.monotonic() + END_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return ", ".join([thread.name for thread in threads if thread.is_alive()][:5])


def use_threads(concurrency: int | None) -> None:
    """Have `asyncio.to_thread` on this event loop run at least `concurrency` calls at a time."""
    loop = asyncio.get_running_loop()
    threads = _of_loop.get(loop)
    if threads is None:
        threads = _of_loop[loop] = EvalThreads()
        loop.set_default_executor(threads)
    threads.limit = max(threads.limit, min(MOST, concurrency or MOST))
