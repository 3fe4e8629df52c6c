"""An event loop on a thread of its own, for a caller that has only threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads. Made by `loop_thread`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what `coroutine` returns or raises, run on the loop in the caller's context."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @contextlib.contextmanager
    def entered(self, context: AbstractAsyncContextManager[Any]) -> Iterator[None]:
        """Enter and leave `context` in one task of the loop, as task groups inside it demand."""
        opened, stop = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with context:
                opened.set()
                await stop.wait()

        async def start() -> asyncio.Task[None]:
            holding = asyncio.create_task(hold())
            opening = asyncio.create_task(opened.wait())
            await asyncio.wait([holding, opening], return_when=asyncio.FIRST_COMPLETED)
            opening.cancel()
            if holding.done():
                await holding  # raises what entering it did
            return holding

        async def finish(holding: asyncio.Task[None]) -> None:
            stop.set()
            await holding

        holding = self.run(start())
        try:
            yield
        finally:
            self.run(finish(holding))


@contextlib.contextmanager
def loop_thread(name: str) -> Iterator[LoopThread]:
    """Give a running loop, stopped and closed when the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=name)
    thread.start()
    try:
        yield LoopThread(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
