"""Where runs find the engine they share: one registry, by event loop and run set."""

from __future__ import annotations

import asyncio
import weakref

from nanoeval_runner._engine import Engine
from nanoeval_runner._run_set_ids import new_run_set_id


class _Engines:
    """Owns the engines of each event loop: the only place where runs find each other."""

    def __init__(self) -> None:
        self._by_loop: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[str | None, Engine]
        ] = weakref.WeakKeyDictionary()
        self._holds: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int]
        self._holds = weakref.WeakKeyDictionary()
        self._closing: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[str, asyncio.Event]
        ] = weakref.WeakKeyDictionary()

    def join(self, run_set_id: str | None) -> Engine:
        """The engine of this event loop for `run_set_id`, or for runs that name none."""
        here = self._by_loop.setdefault(asyncio.get_running_loop(), {})
        engine = here.get(run_set_id)
        if engine is None:
            engine = here[run_set_id] = Engine(run_set_id or new_run_set_id())
        engine.members += 1
        return engine

    async def open(self, engine: Engine) -> None:
        """Open what `join` returned, once the one before it has closed the same state file."""
        closing = self._closing.get(asyncio.get_running_loop(), {}).get(engine.run_set_id)
        if closing is not None:
            await closing.wait()
        await engine.open()

    async def leave(self, engine: Engine) -> None:
        """The last to leave closes the engine, unless this loop's engines are held."""
        engine.members -= 1
        held = self._holds.get(asyncio.get_running_loop(), 0) and engine.failure is None
        if engine.members == 0 and not held:
            await self._close(engine)

    async def _close(self, engine: Engine) -> None:
        here = self._by_loop[asyncio.get_running_loop()]
        for key in [k for k, e in here.items() if e is engine]:
            del here[key]
        closing = self._closing.setdefault(asyncio.get_running_loop(), {})
        closed = closing[engine.run_set_id] = asyncio.Event()
        try:
            await engine.close()
        finally:
            closed.set()
            if closing.get(engine.run_set_id) is closed:
                del closing[engine.run_set_id]

    def hold(self) -> None:
        """Keep engines of this loop open until `let_go`. Holds nest."""
        loop = asyncio.get_running_loop()
        self._holds[loop] = self._holds.get(loop, 0) + 1

    async def let_go(self) -> list[BaseException]:
        """End one hold; at the last, close the engines and return what made them fail."""
        loop = asyncio.get_running_loop()
        self._holds[loop] -= 1
        if self._holds[loop]:
            return []
        idle = [e for e in self._by_loop.get(loop, {}).values() if e.members == 0]
        for engine in idle:
            await self._close(engine)
        return [e.failure for e in idle if e.failure is not None]


engines = _Engines()
