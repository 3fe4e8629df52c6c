"""An executor in a process that an engine started, on this machine or another.

`serve_executor` is all that such a process runs. It needs one thing of its engine: a function that
carries a message to the driver and returns the reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import pickle
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from nanoeval_core.errors import StateError
from nanoeval_core.library_config import set_library_config
from nanoeval_core.run_context import RunContext

from nanoeval_runner._executors.executor_process import ORPHANED, SLOT_VARIABLE, wants_logging
from nanoeval_runner._executors.loop import ExecutorLoop
from nanoeval_runner._executors.remote_pool import Welcome
from nanoeval_runner._executors.source import LoadedEval, TaskSource, load_eval
from nanoeval_runner._executors.watchdog import Watchdog
from nanoeval_runner._failures import dump_failure
from nanoeval_runner._queue.paths import shared_dir, state_file
from nanoeval_runner._queue.rows import ExchangeReply, ExchangeRequest, Heartbeat, StoredSpec
from nanoeval_runner._queue.states import LEASE_SECONDS
from nanoeval_runner.stored_eval import restore_origin

__all__ = [
    "CLAIM_SECONDS",
    "ORPHANED",
    "Call",
    "relocated",
    "serve_executor",
    "shared_folder",
]

Call = Callable[[bytes], bytes]

TICKS_A_HEARTBEAT = 3
"""The watchdog ticks once a second; a thousand executors would keep their driver busy with that."""

CLAIM_SECONDS = 0.05
"""How much of tasks that compute is claimed at a time: a message takes a millisecond or two."""


def serve_executor(name: str, call: Call, *, log: str = "") -> None:
    """Run one executor until its driver stops it; the process is its own.

    Args:
        name: no other executor of the run set has had it.
        call: carries a message to the driver's `ExecutorHost.handle`, blocks, and returns the
            reply. Three threads call it, each waiting for its reply; some take long. What it
            raises means that the driver is gone: the process then ends at once.
        log: where the process's output goes, for people to find it.
    """
    with _Driver(name, call) as driver:
        hello = "hello", name, os.getpid(), socket.gethostname(), log
        welcome: Welcome | None = driver.thread.submit(driver.say, *hello).result()
        if welcome is None:
            return
        config = pickle.loads(welcome.library_config)
        set_library_config(config)
        if wants_logging(config):
            config.setup_logging()
        with shared_folder(welcome.run_set_id) as folder:
            os.environ[SLOT_VARIABLE] = str(welcome.slot)
            asyncio.run(_serve(driver, welcome, name=name, folder=folder))


class _Driver(TaskSource):
    """The driver's queue, as its executor reaches it: every exchange is one message.

    It ends the process when it is out of reach. Use it with `with`.

    Attributes:
        thread: says what the event loop has to say, one after the other.
    """

    def __init__(self, name: str, call: Call) -> None:
        self._name = name
        self._call = call
        self._heard = time.monotonic()
        self._over = threading.Event()
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nanoeval-exchange")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.thread.shutdown()
        self._over.set()

    def say(self, verb: str, *arguments: object) -> Any:
        """Return the driver's reply once it is there."""
        try:
            reply = self._call(pickle.dumps((verb, *arguments), pickle.HIGHEST_PROTOCOL))
        except BaseException:  # noqa: BLE001  whatever the transport raises, nobody is listening
            if self._over.is_set():
                return None
            os._exit(ORPHANED)
        self._heard = time.monotonic()
        return pickle.loads(reply)

    def ask(self, verb: str, *arguments: object) -> asyncio.Future[Any]:
        return asyncio.wrap_future(self.thread.submit(self.say, verb, *arguments))

    def guard(self) -> None:
        """End the process once its leases have run out: its tasks run elsewhere by then."""
        while not self._over.wait(1.0):
            if time.monotonic() - self._heard > LEASE_SECONDS:
                os._exit(ORPHANED)

    # --- TaskSource

    async def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        for completion in request.completions:
            completion.error = None  # `value` has it, in a form that any process can read
        reply: ExchangeReply = await self.ask("exchange", self._name, request)
        return reply

    async def load(self, eval_id: int) -> LoadedEval:
        stored: StoredSpec = await self.ask("load", self._name, eval_id)
        try:
            restore_origin(relocated(stored.origin))
        except StateError as missing:  # it matters only if the eval's classes are in the script
            try:
                return load_eval(stored)
            except Exception as error:
                raise missing from error
        return load_eval(stored)

    async def fail_eval(self, eval_id: int, error: BaseException) -> None:
        await self.ask("left", self._name, eval_id, dump_failure(error))

    def left(self, eval_id: int) -> None:
        self.thread.submit(self.say, "left", self._name, eval_id)


@contextlib.contextmanager
def shared_folder(run_set_id: str) -> Iterator[Path]:
    """Give the folder that a run set's executors on this host share; the last removes it."""
    path = state_file(run_set_id)
    folder = shared_dir(path)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield folder
        if not path.exists():  # the driver's own goes with its state file
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


async def _serve(driver: _Driver, welcome: Welcome, *, name: str, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    executor = ExecutorLoop(
        executor_id=welcome.executor_id,
        pool=welcome.pool,
        source=driver,
        run_context=RunContext(
            run_set_id=welcome.run_set_id, shared_dir=folder, executor=name, slot=welcome.slot
        ),
        claim_seconds=CLAIM_SECONDS,
    )

    def listen() -> None:
        stop = False
        while not stop:
            stop = driver.say("wait", name) is not False
            if stop:
                loop.call_soon_threadsafe(executor.stop)
            loop.call_soon_threadsafe(executor.wake)

    ticks = itertools.count()

    def publish(heartbeat: Heartbeat) -> bool:
        return next(ticks) % TICKS_A_HEARTBEAT != 0 or bool(driver.say("beat", heartbeat))

    for target in (driver.guard, listen):
        threading.Thread(target=target, name=f"nanoeval-{target.__name__}", daemon=True).start()
    with Watchdog(executor, publish):
        await executor.run()
    if not executor.fenced:
        await driver.ask("bye", name)


def relocated(origin: str) -> str:
    """Return `origin` with the script where this process has it: there, or in its working folder.

    A cluster may have copied the driver's folder to another place.
    """
    where: dict[str, Any] = json.loads(origin)
    file, cwd = where.get("file"), where.get("cwd")
    if file and cwd and not os.path.exists(file):
        here = os.path.abspath(os.path.relpath(file, cwd))
        if os.path.exists(here):
            where["file"] = here
    return json.dumps(where)
