"""What runs in an actor: an executor in a thread of its own, and its mailbox."""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback

import ray
from nanoeval_runner.remote_executor import serve_executor

from nanoeval_ray._mailbox import LANES, Mailbox


class ExecutorActor:
    """One executor. Ray calls its methods from threads; the executor has one of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._mailbox = Mailbox()
        self._failure: str | None = None
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        try:
            serve_executor(self._name, self._mailbox.call, log=_log_file())
        except BaseException:  # noqa: BLE001  the driver learns of it with its next turn
            self._failure = traceback.format_exc()
            sys.stderr.write(self._failure)
        finally:
            self._mailbox.close()

    def where(self) -> str:
        """Say where it runs, and where its output goes: a path on that host."""
        node_id = ray.get_runtime_context().get_node_id()
        host, log = socket.gethostname(), _log_file() or "see `ray logs`"
        return f"process {os.getpid()} on host {host} (node {node_id}); its output: {log}"

    def turn(self, lane: int, reply: bytes | None) -> bytes | None:
        message = self._mailbox.turn(lane, reply)
        if message is None and self._failure is not None:
            raise RuntimeError(f"executor {self._name} failed:\n{self._failure}")
        return message


def _log_file() -> str:
    """Return where this process's standard error goes, '' where that cannot be told."""
    try:
        return os.readlink("/proc/self/fd/2")
    except OSError:
        return ""


MAX_CONCURRENCY = LANES + 1
