"""Runs `python -m nanoeval …` again and again without importing it each time.

A process that has imported what the commands need forks for each call: the child has its own
folder, environment, output and exit code, as a process that was started from nothing has, in a
tenth of the time. The parent has no threads.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.script import ROOT, environment

SECONDS = 100  # that mean "hung"
AT_START = ("PYTHON", "LC_", "LANG")
"""Beginnings of the variables that are read when an interpreter starts."""


class Forker:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(Path(tempfile.gettempdir())),
        )
        atexit.register(self.close)

    def run(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[int, str, str]:
        """Return the exit code of the command, and what it wrote to stdout and stderr."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            asked = {"words": list(words), "cwd": str(cwd), "env": dict(env)}
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(
                json.dumps({**asked, "out": str(out), "err": str(err)}),
                file=self._process.stdin,
                flush=True,
            )
            code = int(self._process.stdout.readline())
            return code, out.read_text("utf-8"), err.read_text("utf-8")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait()


_forker: list[Forker] = []


def nanoeval(*words: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `python -m nanoeval WORDS` to its end, without input."""
    usual = environment(Path())
    if any(env[name] != usual.get(name) for name in env if name.startswith(AT_START)):
        return subprocess.run(
            [sys.executable, "-m", "nanoeval", *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=dict(env),
            cwd=cwd,
            timeout=SECONDS,
        )
    if not _forker:
        _forker.append(Forker())
    code, out, err = _forker[0].run(words, cwd, env)
    return subprocess.CompletedProcess(["nanoeval", *words], code, out, err)


# --- the process that forks


def _serve() -> None:
    commands = importlib.import_module("nanoeval_cli._commands")
    for module in pkgutil.iter_modules(commands.__path__, "nanoeval_cli._commands."):
        importlib.import_module(module.name)
    for name in ("nanoeval_runner.setup", "nanoeval_solvers.mcq_api", "nanoeval.setup"):
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
            runpy.run_module("nanoeval", run_name="__main__", alter_sys=True)
            return  # ends as any program does, with its exit code
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(asked: dict[str, Any]) -> None:
    """Take the files, folder, environment and arguments of a process of its own."""
    signal.alarm(SECONDS)
    write = os.O_WRONLY | os.O_CREAT
    files = ((os.devnull, os.O_RDONLY), (asked["out"], write), (asked["err"], write))
    for number, (path, flags) in enumerate(files):
        file = os.open(path, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.path[0] = asked["cwd"]
    sys.argv = ["nanoeval", *asked["words"]]


if __name__ == "__main__":
    _serve()
