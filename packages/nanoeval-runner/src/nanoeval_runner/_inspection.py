"""What to look at when a run seems stuck: `kill -USR1 PID` prints it.

Each executor's process id with the ready `py-spy` line, its slowest attempts with what they await,
and, where the `aiomonitor` package is installed, a monitor in each executor: on loopback, started
only now, without a Python console unless `NANOEVAL_AIOMONITOR_CONSOLE=1` says so.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import socket
from typing import Any

from nanoeval_core.run_context import RunContext

from nanoeval_runner._executors.attempts import Attempt
from nanoeval_runner._queue.rows import ExecutorRow

CONSOLE_VARIABLE = "NANOEVAL_AIOMONITOR_CONSOLE"
PORT_GAUGE = "aiomonitor_port"
HOST = "127.0.0.1"


async def start_aiomonitor(context: RunContext) -> None:
    """Start aiomonitor on the running event loop, once, and publish its port as a gauge.

    Does nothing where aiomonitor is not installed: `describe` says how to install it.
    """
    if PORT_GAUGE in context.gauges or importlib.util.find_spec("aiomonitor") is None:
        return
    # Heavy, and a debugging tool: imported now, and where it does not hold up the event loop.
    aiomonitor: Any = await asyncio.to_thread(importlib.import_module, "aiomonitor")
    terminal, web, console = free_ports(3)
    monitor = aiomonitor.Monitor(
        asyncio.get_running_loop(),
        host=HOST,
        termui_port=terminal,
        webui_port=web,
        console_port=console,
        console_enabled=os.environ.get(CONSOLE_VARIABLE) == "1",
    )
    monitor.start()
    context.gauges[PORT_GAUGE] = float(terminal)


def free_ports(n: int) -> list[int]:
    """Return `n` different TCP ports that are free on loopback now."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind((HOST, 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


def describe(executors: list[ExecutorRow], slowest: list[Attempt]) -> str:
    """Return lines for a person: executors with commands to copy, then what runs longest here."""
    lines = ["executors:"]
    for row in executors:
        if row.state != "running":
            continue
        lines.append(f"  {row.name} on {row.host}: pid {row.pid}, {row.in_flight} in flight")
        lines.append(f"    py-spy dump --pid {row.pid}")
        port = json.loads(row.gauges).get(PORT_GAUGE)
        if port:
            lines.append(f"    python -m aiomonitor.cli -H {HOST} -p {port:.0f}")
        lines += [
            f"    {attempt['task']}: {attempt['seconds']} s, at {attempt['where']}"
            for attempt in json.loads(row.running)[:3]
        ]
    if importlib.util.find_spec("aiomonitor") is None:
        lines.append("  (`pip install aiomonitor` adds a monitor to each executor)")
    if slowest:
        lines.append("running longest in this process:")
        lines += [f"  {attempt.describe()}" for attempt in slowest]
    return "\n".join(lines)
