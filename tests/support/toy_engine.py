"""An engine as a third party would write it: processes that reach the driver over TCP.

Read it as the template of one for Dask or Slurm: replace `_start` by what submits a job that runs
`python -m tests.support.toy_engine HOST PORT NAME`, and `_end` by what cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import secrets
import socket
import struct
import sys
import threading
from asyncio.subprocess import Process
from typing import ClassVar

import chz
from nanoeval_core.executors import ExecutorConfig, ExecutorEngine, ExecutorHost

TOKEN_VARIABLE = "TOY_ENGINE_TOKEN"
LENGTH = struct.Struct("!Q")


@chz.chz
class ToyExecutors(ExecutorConfig):
    """What `runner.executor=toy` stands for."""

    name: ClassVar[str] = "toy"
    niceness: int = chz.field(default=0, doc="The executors' niceness: an option of an engine.")

    def engine(self, host: ExecutorHost) -> ExecutorEngine:
        return ToyEngine(self, host)


class ToyEngine:
    def __init__(self, config: ToyExecutors, host: ExecutorHost) -> None:
        self._config = config
        self._host = host
        self._token = secrets.token_hex()
        self._server: asyncio.Server | None = None
        self._processes: dict[str, Process] = {}
        self._connections: set[asyncio.Task[None] | None] = set()
        self._names = 0

    async def grow(self, size: int | None) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        while len(self._processes) < (size or 2):
            await self._start()

    async def _start(self) -> None:
        assert self._server is not None
        self._names += 1
        name = f"toy-{self._names}"
        host, port = self._server.sockets[0].getsockname()
        self._processes[name] = await asyncio.create_subprocess_exec(
            *("nice", "-n", str(self._config.niceness)),
            *(sys.executable, "-m", "tests.support.toy_engine", host, str(port), name),
            env={**os.environ, TOKEN_VARIABLE: self._token},
        )
        self._host.start_task(self._watch(name), name=f"watch {name}")

    async def _watch(self, name: str) -> None:
        code = await self._processes[name].wait()
        del self._processes[name]
        if await self._host.lost(name, f"exit code {code}"):
            await self._start()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One thread of one executor. Messages are pickles: none is read before the token."""
        self._connections.add(asyncio.current_task())
        # Python 3.11 reports a handler that was cancelled; this one ends.
        over = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*over):
            token = await reader.readexactly(len(self._token))
            while hmac.compare_digest(token, self._token.encode()):
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                reply = await self._host.handle(await reader.readexactly(length))
                writer.write(LENGTH.pack(len(reply)) + reply)
                await writer.drain()
        writer.close()

    async def stop(self) -> None:
        self.kill()
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            if connection is not None:
                connection.cancel()

    def kill(self) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def connect(address: tuple[str, int], token: bytes) -> socket.socket:
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(token)
    return connection


def receive(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        part = connection.recv(length - len(received))
        if not part:
            raise EOFError("the driver is gone")
        received += part
    return received


def main(host: str, port: int, name: str) -> None:
    """What runs in an executor's process."""
    from nanoeval_runner.remote_executor import serve_executor

    token = os.environ.pop(TOKEN_VARIABLE).encode()
    thread = threading.local()

    def call(message: bytes) -> bytes:
        if not hasattr(thread, "connection"):
            thread.connection = connect((host, port), token)
        thread.connection.sendall(LENGTH.pack(len(message)) + message)
        (length,) = LENGTH.unpack(receive(thread.connection, LENGTH.size))
        return receive(thread.connection, length)

    serve_executor(name, call)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
