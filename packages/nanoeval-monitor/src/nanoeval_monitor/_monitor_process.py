"""The monitor of one run: a process of its own, which ends when the run ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from nanoeval_core.errors import NanoevalError

START_SECONDS = 30.0
STOP_SECONDS = 5.0


class MonitorProcess:
    """A monitor that was started by `web_monitor`.

    Attributes:
        url: where it is, token included.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def close(self) -> None:
        """Stop it. It also stops by itself when this process dies, whatever killed it."""
        try:
            self._process.communicate(timeout=STOP_SECONDS)  # closes what it reads
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def web_monitor(state_file: Path) -> MonitorProcess:
    """Start a monitor of the run set in `state_file`, on loopback, at a free port. Blocks shortly.

    Its priority is low: where the processor is the run's bottleneck, the run goes first.

    Raises:
        NanoevalError: it did not start; the message has what it wrote.
    """
    command = [sys.executable, "-m", "nanoeval_monitor", f"state={state_file}", "port=0"]
    command.append("until_closed=True")
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for the run, which then closes us
    )
    with contextlib.suppress(OSError):  # it has ended; what it printed will tell
        os.setpriority(os.PRIO_PROCESS, process.pid, 10)
    assert process.stdout is not None  # noqa: S101  it is a pipe
    giving_up = threading.Timer(START_SECONDS, process.kill)
    giving_up.start()
    try:
        url = process.stdout.readline().partition(": ")[2].strip()  # "": it ended, or was silent
    finally:
        giving_up.cancel()
    if not url:
        process.kill()
        raise NanoevalError(
            f"the monitor did not start (exit code {process.wait()}): run "
            f"`{' '.join(command[:3])}` to see why, or leave use_monitor out"
        )
    return MonitorProcess(process, url)
