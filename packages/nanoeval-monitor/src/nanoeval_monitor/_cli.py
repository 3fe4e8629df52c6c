"""Starts the monitor: what `nanoeval monitor` and `python -m nanoeval.bin.mon` call."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import chz
import uvicorn
from nanoeval_core.errors import ConfigError
from nanoeval_recorder.folder import records_folder
from nanoeval_runner.command_line import from_command_line
from nanoeval_runner.state_files import state_dir

from nanoeval_monitor._access import Access, is_loopback
from nanoeval_monitor._live_feed import LiveFeed
from nanoeval_monitor._run_list import RunList
from nanoeval_monitor._server import create_app

PORT = 8640
GC_THRESHOLD = 50_000
"""Allocations between young collections: reading a record makes many objects, and no cycles."""


@chz.chz
class MonitorArgs:
    """Where the monitor listens and what it shows."""

    records: str | None = chz.field(
        default=None, doc="A folder of records, or several separated by ':'; by default yours."
    )
    state: str | None = chz.field(
        default=None, doc="The folder of state files, or one state file; by default yours."
    )
    host: str = chz.field(
        default="127.0.0.1",
        doc="The address to listen at. Anywhere but on loopback, every request needs the token.",
    )
    port: int = chz.field(default=PORT, doc="The port; 0 takes one that is free.")
    token: str | None = chz.field(
        default=None, doc="The token, which changes need; by default a new one each time."
    )
    until_closed: bool = chz.field(
        default=False, doc="End when standard input closes: for a process that is started by one."
    )

    @chz.validate
    def _check(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port={self.port}: give a number from 0 to 65535")
        if self.token is not None and len(self.token) < 8:
            raise ConfigError("token: give at least 8 characters, or leave it out for a new one")


def main(argv: Sequence[str] | None = None) -> None:
    """Serve as the command line says until interrupted. Prints the URL first.

    Raises:
        ConfigError: an argument is wrong, or the address cannot be listened at.
    """
    args = from_command_line(MonitorArgs, argv)
    gc.set_threshold(GC_THRESHOLD)
    listening = _listen(args.host, args.port)
    token = args.token or os.environ.get("NANOEVAL_MONITOR_TOKEN") or secrets.token_urlsafe(18)
    folders = args.records.split(os.pathsep) if args.records else [str(records_folder())]
    state = Path(args.state).expanduser() if args.state else state_dir()
    runs = RunList([Path(folder).expanduser() for folder in folders], state)
    app = create_app(runs, LiveFeed(runs), Access(args.host, token))
    config = uvicorn.Config(
        app,
        log_level="critical" if args.until_closed else "warning",
        access_log=False,
        lifespan="on",
        # A run that started us waits for our end: pages that are open are not waited for.
        timeout_graceful_shutdown=0 if args.until_closed else 1,
    )
    if args.until_closed:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        url = url_of(args.host, listening.getsockname()[1], token)
        sys.stdout.write(f"nanoeval monitor: {url}\n")
        sys.stdout.flush()
        asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


def url_of(host: str, port: int, token: str) -> str:
    """Return the URL to open; the token is in the part after `#` where the server needs none."""
    shown = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        shown = socket.gethostname()
    separator = "#" if is_loopback(host) else "?"
    return f"http://{shown}:{port}/{separator}token={token}"


def _stop_at_end_of_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # a page that is opened now is answered as soon as the server runs
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen at {host}:{port} ({error.strerror}): a monitor may be running there; "
            "give another port=…, or port=0 for one that is free"
        ) from error
    return listening
