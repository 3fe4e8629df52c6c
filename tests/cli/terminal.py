"""A process in a pseudo-terminal, its screen read back as a person would see it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.script import ROOT, environment

pexpect = pytest.importorskip("pexpect")
pyte = pytest.importorskip("pyte")

GUARD = 50.0  # seconds that mean "hung"


class Terminal:
    """Runs `python ARGUMENTS` in a terminal of its own. Use it with `with`."""

    def __init__(
        self,
        *arguments: str | Path,
        folder: Path,
        cwd: Path = ROOT,
        size: tuple[int, int] = (24, 100),
        **more: str,
    ) -> None:
        rows, columns = size
        self.screen = pyte.HistoryScreen(columns, rows, history=2000)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        env = environment(folder, TERM="xterm-256color", PYTHONUTF8="1", PAGER="cat")
        for name in ("NO_COLOR", "CI", "COLUMNS", "LINES"):
            env.pop(name, None)
        self.process = pexpect.spawn(
            sys.executable,
            [str(argument) for argument in arguments],
            cwd=str(cwd),
            env={**env, **more},
            dimensions=size,
            timeout=GUARD,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.close(force=True)

    @property
    def lines(self) -> list[str]:
        """What was ever on the screen, the part that scrolled away included."""
        above = [
            "".join(row[x].data for x in range(self.screen.columns)).rstrip()
            for row in self.screen.history.top
        ]
        return [*above, *(line.rstrip() for line in self.screen.display)]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def now(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, what: str | Callable[[str], bool]) -> str:
        """Read until the screen has `what`; returns it."""
        seen = (lambda text: what in text) if isinstance(what, str) else what
        deadline = time.monotonic() + GUARD
        while not seen(self.text):
            assert time.monotonic() < deadline, f"{what!r} did not appear on\n{self.text}"
            if not self._read():
                assert seen(self.text), f"it ended, and {what!r} is not on\n{self.text}"
        return self.text

    def _read(self) -> bool:
        try:
            data = self.process.read_nonblocking(1 << 16, timeout=0.2)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.written += data
        self._stream.feed(data)
        return True

    def type(self, text: str) -> None:
        self.process.send(text)

    def resize(self, rows: int, columns: int) -> None:
        self.process.setwinsize(rows, columns)
        self.screen.resize(rows, columns)

    def finish(self) -> int:
        """Read to the end; returns the exit code (negative for a signal)."""
        while self._read():
            pass
        self.process.wait()
        if self.process.exitstatus is None:
            return -int(self.process.signalstatus)
        return int(self.process.exitstatus)


def nanoeval(
    *arguments: str | Path, folder: Path, size: tuple[int, int] = (24, 100), **more: str
) -> Terminal:
    """The command in a terminal, in `folder`."""
    return Terminal("-m", "nanoeval", *arguments, folder=folder, cwd=folder, size=size, **more)
