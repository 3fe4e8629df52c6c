"""Evals that stop at gates: they say where they are, and wait to be told what to do.

A gate is a socket that the test listens on. Whoever comes to it, in whatever process, connects,
says where it is, and goes on when the test has answered; a connection that ends without an answer
is a process that died. So tests wait for events, never for time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import chz
from nanoeval import Eval, EvalSpec, RolloutSystemError, RunnerArgs, Task, resume, run
from nanoeval.recorder import get_recorder
from nanoeval.setup import exit_codes, nanoeval_entrypoint, run_main
from nanoeval_core.run_context import get_run_context

PATIENCE = 120.0
"""Seconds after which a test has hung."""


@dataclasses.dataclass(eq=False)
class Arrival:
    """Somebody at the gate."""

    stage: str
    task: str
    retry: int
    pid: int
    executor: str
    connection: socket.socket

    def answer(self, word: str = "go") -> None:
        self.connection.sendall(word.encode() + b"\n")

    def wait_until_gone(self) -> None:
        """Until whoever stands there is dead, or has been cancelled."""
        self.connection.settimeout(PATIENCE)
        try:
            while self.connection.recv(1024):
                pass
        except ConnectionResetError:
            pass
        self.connection.close()


class _Closing(Exception):
    """The test has told the thread that opens for all to end."""


class Gate:
    """The test's side; use it with `with`."""

    def __init__(self) -> None:
        # Short: the path of a socket has 107 bytes.
        self._folder = tempfile.TemporaryDirectory(prefix="gate-")
        self.path = str(Path(self._folder.name) / "gate")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen(4096)
        self._socket.settimeout(PATIENCE)
        self.seen: list[Arrival] = []
        self._open: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open is not None:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(self.path)
                last.sendall(b"null\n")
                self._open.join()
        self._socket.close()
        self.forget()
        self._folder.cleanup()

    def forget(self) -> None:
        """Count from here; whoever still stands here is told to go away."""
        for arrival in self.seen:
            arrival.connection.close()
        self.seen.clear()

    def arrival(self) -> Arrival:
        """The next to come."""
        connection, _ = self._socket.accept()
        connection.settimeout(PATIENCE)
        line = b""
        while not line.endswith(b"\n"):
            part = connection.recv(4096)
            if not part:  # it was killed on its way here
                connection.close()
                return self.arrival()
            line += part
        said = json.loads(line)
        if said is None:
            connection.close()
            raise _Closing
        arrival = Arrival(**said, connection=connection)
        self.seen.append(arrival)
        return arrival

    def arrivals(self, n: int) -> list[Arrival]:
        return [self.arrival() for _ in range(n)]

    def answer_all(self, n: int, word: str = "go") -> list[Arrival]:
        """Let the next `n` pass as they come."""
        passed = []
        for _ in range(n):
            arrival = self.arrival()
            arrival.answer(word)
            passed.append(arrival)
        return passed

    def open_for_all(self) -> None:
        """From now on whoever comes may pass; ends when the gate is closed."""

        def serve() -> None:
            with contextlib.suppress(_Closing):
                while True:
                    arrival = self.arrival()
                    with contextlib.suppress(OSError):  # killed while it stood there
                        arrival.answer()

        self._open = threading.Thread(target=serve)
        self._open.start()

    def times(self, stage: str = "evaluate") -> dict[str, int]:
        """How often each task came to the gate."""
        counts: dict[str, int] = {}
        for arrival in self.seen:
            if arrival.stage == stage:
                counts[arrival.task] = counts.get(arrival.task, 0) + 1
        return counts


def _announcement(stage: str, task: Task | None) -> bytes:
    context = get_run_context()
    return (
        json.dumps(
            {
                "stage": stage,
                "task": task.name if task else "",
                "retry": task.retry_idx if task else 0,
                "pid": os.getpid(),
                "executor": context.executor if context else "",
            }
        ).encode()
        + b"\n"
    )


async def stop_at(path: str, stage: str, task: Task | None = None) -> str:
    """Wait at the gate; returns the answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(_announcement(stage, task))
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


@chz.chz
class GatedEval(Eval[Task, Any]):
    """An eval each of whose steps may stop at a gate.

    Args:
        gate: the socket's path.
        n: questions.
        stages: which steps stop: tasks, enter, evaluate, leave, summary.
        tag: an argument, to be changed.
    """

    gate: str
    n: int = 4
    stages: tuple[str, ...] = ("evaluate",)
    name: str = "gated"
    tag: str = ""

    def get_name(self) -> str:
        return self.name

    async def stop(self, stage: str, task: Task | None = None) -> str:
        return await stop_at(self.gate, stage, task) if stage in self.stages else "go"

    async def _context(self) -> AsyncGenerator[None, None]:
        for stage in ("enter", "leave"):
            if await self.stop(stage) == "boom":
                raise OSError(f"cannot {stage}")
            if stage == "enter":
                yield

    async def get_tasks(self) -> list[Task]:
        await self.stop("tasks")
        return [Task(question_id=f"q{i}") for i in range(self.n)]

    async def evaluate(self, task: Task) -> Any:
        word = await self.stop("evaluate", task)
        get_recorder().record_match(True, expected=task.name, picked=task.name)
        return await act(word, task)

    async def get_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
        await self.stop("summary")
        return {
            "n": len(results),
            "results": [r for _, r in results],
            "names": sorted(task.name for task, _ in results),
        }


class TwoPartError(Exception):
    """Pickles, but cannot be unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class MuteError(Exception):
    """Has no text, takes no note, and cannot be pickled."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def add_note(self, note: str) -> None:
        raise RuntimeError("no notes")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


async def act(word: str, task: Task) -> Any:  # noqa: C901  a word each
    """Do what the gate answered."""
    match word:
        case "go":
            return os.getpid()
        case "system":
            raise RolloutSystemError(f"{task.name} is down")
        case "boom":
            raise ValueError(f"boom in {task.name}")
        case "exit":
            sys.exit(7)
        case "die with heirs":  # a process of its own inherits all that it has open
            os.system("sleep 300 &")  # noqa: ASYNC221  its shell is gone at once
            os.kill(os.getpid(), signal.SIGKILL)
        case "fork":
            if not os.fork():
                time.sleep(300)  # noqa: ASYNC251  the child has no event loop
                os._exit(0)
            return os.getpid()
        case "interruptible":
            asked = "import signal; print(signal.getsignal(signal.SIGINT))"
            done = subprocess.run(  # noqa: ASYNC221  nothing else is on this loop
                [sys.executable, "-c", asked], capture_output=True, check=True
            )
            return done.stdout.decode()
        case "slot":
            context = get_run_context()
            assert context is not None
            return context.slot, os.environ.get("NANOEVAL_EXECUTOR_SLOT")
        case "environment":
            return os.environ.get("SET_LATER")
        case "loop":
            return type(asyncio.get_running_loop()).__module__
        case "typed":
            raise KeyboardInterrupt
        case "closed":
            raise GeneratorExit
        case "unreadable":
            return {"why": TwoPartError("cannot", "come back")}
        case "deep":
            nested: list[Any] = []
            for _ in range(100_000):
                nested = [nested]
            return nested
        case "mute":
            raise MuteError
        case "cancelled":
            raise asyncio.CancelledError
        case "two parts":
            raise TwoPartError("cannot", "come back")
        case "lock":
            return threading.Lock()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "spin":
            sum(range(10**15))  # in native code, which never lets other threads run
        case "hang":
            await asyncio.Event().wait()
    raise AssertionError(f"the gate answered {word!r}")


def spec(gate: Gate | str, *, runner: dict[str, Any] | None = None, **eval: Any) -> EvalSpec:
    path = gate if isinstance(gate, str) else gate.path
    args: dict[str, Any] = {"enable_slackbot": False, "should_backup": False, "retry_backoff": 0.0}
    return EvalSpec(eval=GatedEval(gate=path, **eval), runner=RunnerArgs(**args | (runner or {})))


POOL: dict[str, Any] = {"experimental_use_multiprocessing": True, "num_processes": 2}
MODES: dict[str, dict[str, Any]] = {"in_process": {}, "pooled": POOL}


async def _run_all(config: dict[str, Any]) -> None:
    if "resume" in config:
        print(json.dumps(await resume(config["resume"], **config.get("options", {}))))
        return
    runs = config.get("evals", [{}])
    summaries = await asyncio.gather(
        *(run(spec(config["gate"], runner=config.get("runner"), **each)) for each in runs)
    )
    print(json.dumps(summaries))


def main() -> None:
    """What a process that a test starts does: the JSON in its first argument says what to run."""
    config = json.loads(sys.argv[1])
    if config.get("uvloop"):
        import uvloop

        with exit_codes():
            run_main(_run_all(config), uvloop.new_event_loop)
    else:
        nanoeval_entrypoint(_run_all(config))


if __name__ == "__main__":
    main()
