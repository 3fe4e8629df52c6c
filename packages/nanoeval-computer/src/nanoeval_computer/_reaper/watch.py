"""What this process has made and must not leave behind: told to a reaper that outlives it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading

from nanoeval_computer._reaper import process


class Reaper:
    """The reaper of this process for one engine; `""` for folders and processes."""

    def __init__(self, engine_url: str) -> None:
        self._engine_url = engine_url
        self._lock = threading.Lock()
        self._left: dict[str, str] = {}
        self._process = self._start()
        atexit.register(self._end)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", process.__file__, self._engine_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # a reader of this process's would wait for the reaper
            start_new_session=True,
            cwd="/",
        )

    def watch(self, kind: str, name: str) -> None:
        """Have `name` removed when this process ends. Call it before `name` is created."""
        with self._lock:
            self._left[name] = kind
            self._tell(kind, name)

    def forget(self, name: str) -> None:
        """Take note that `name` is removed."""
        with self._lock:
            del self._left[name]
            self._tell("", name)

    def _tell(self, kind: str, name: str) -> None:
        try:
            self._write(kind, name)
        except BrokenPipeError:  # somebody ended it: the next one is told everything
            self._process.wait()
            self._process = self._start()
            for other, its_kind in self._left.items():
                self._write(its_kind, other)

    def _end(self) -> None:
        """Let the reaper end with this process: at once where nothing is left to remove."""
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._left:
            self._process.returncode = 0  # it outlives this process, which is no leak to warn of
        else:
            self._process.wait()

    def _write(self, kind: str, name: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        self._process.stdin.write(json.dumps({"kind": kind, "name": name}).encode() + b"\n")
        self._process.stdin.flush()


_reapers: dict[tuple[int, str], Reaper] = {}
_reapers_lock = threading.Lock()


def reaper_for(engine_url: str) -> Reaper:
    """Return this process's reaper for an engine. It ends with the process, and not before."""
    key = os.getpid(), engine_url
    with _reapers_lock:
        if key not in _reapers:
            _reapers[key] = Reaper(engine_url)
        return _reapers[key]
