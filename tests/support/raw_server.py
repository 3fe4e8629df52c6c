"""A server on loopback that answers each request with exactly the bytes that it is given."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

ANSWER = "Answer: B"


def http(
    status: int = 200,
    body: bytes | str | object = b"",
    headers: Mapping[str, str] | None = None,
    *,
    length: bool = True,
) -> bytes:
    """An HTTP reply; what is neither bytes nor text is sent as JSON."""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Some Reason", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat(
    text: str | None = ANSWER, *, finish: Any = "stop", message: Any = None, **more: Any
) -> dict[str, Any]:
    """A reply of chat completions."""
    said = {"role": "assistant", "content": text, **(message or {})}
    usage = {"prompt_tokens": 3, "completion_tokens": 2 if text else 0}
    choice = {"index": 0, "message": said, "finish_reason": finish}
    return {"model": "m", "choices": [choice], "usage": usage, **more}


class RawServer:
    """Answers each request with the next of `replies`, or with `reply` when they are used up.

    A reply that ends with `CLOSE` closes the connection after it, one that ends with `RESET`
    resets it.

    Attributes:
        requests: heads and bodies, in order of arrival.
        connections: how many were opened.
    """

    CLOSE, RESET = b"\0close", b"\0reset"

    def __init__(self, replies: Iterable[bytes] = (), *, tls: ssl.SSLContext | None = None) -> None:
        self.replies = deque(replies)
        self.reply = http(200, chat())
        self.requests: list[tuple[str, Any]] = []
        self.connections = 0
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.port = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                names = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
                body = await reader.readexactly(int(names.get("content-length", 0)))
                self.requests.append((head, json.loads(body) if body else None))
                reply = self.replies.popleft() if self.replies else self.reply
                end = next((e for e in (self.CLOSE, self.RESET) if reply.endswith(e)), b"")
                writer.write(reply.removesuffix(end))
                await writer.drain()
                if end == self.RESET:
                    writer.transport.abort()
                if end:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed it
        finally:
            writer.close()
