"""A small HTTP/1.1 client over asyncio's protocols, for POST requests to one host.

It does what calls to model endpoints need and nothing else: connections kept alive, TLS by asyncio,
replies parsed by `httptools`, gzip and deflate. It costs a fraction of a general client. Whatever
is unusual, a proxy above all, is left to `aiohttp`.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

CONNECT_TIMEOUT = 15.0  # seconds
_KEEPALIVE = 60.0  # seconds that an idle connection is kept
_RESOLVED = 60.0  # seconds that a host's addresses are believed
LARGEST_HEAD = 2**20  # bytes: there are endpoints that send headers of 9,000
_LARGEST_BODY = 2**28  # bytes: what does not end must not fill the memory
_PASSES = 5  # of the event loop that a reply still has after its time


class HTTPReply(NamedTuple):
    """What came back. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ConnectionFailedError(Exception):
    """There was no whole reply; the message says why."""

    def __init__(self, words: str, *, timed_out: bool = False, unreachable: bool = False) -> None:
        super().__init__(words)
        self.timed_out = timed_out
        self.unreachable = unreachable


class Deadline:
    """Calls `expired` some seconds after `start`, unless it is stopped. Can be started again.

    Setting a timer costs more than all else that a small reply does to the client: one that is set
    stays, and when it finds a later start it is set for the rest.

    A loop that was blocked finds its timers due before it has read what has arrived meanwhile. So
    the loop passes a few more times first, and again while `progress()` changes.
    """

    def __init__(self, expired: Callable[[], None], progress: Callable[[], int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expired, self._progress = expired, progress
        self._passes, self._seen = _PASSES, -1
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        self._at = self._loop.time() + seconds
        self._passes, self._seen = _PASSES, -1
        if self._timer is None or self._timer.when() > self._at:
            self.close()
            self._timer = self._loop.call_at(self._at, self._look)

    def stop(self) -> None:
        self._at = math.inf

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._at == math.inf:
            return
        if self._loop.time() < self._at:
            self._timer = self._loop.call_at(self._at, self._look)
            return
        seen = self._progress()
        self._passes = _PASSES if seen != self._seen else self._passes - 1
        self._seen = seen
        if self._passes:
            self._loop.call_soon(self._look)
        else:
            self._expired()


class Connection(asyncio.Protocol):
    """One connection, on which one request at a time is sent and its reply read.

    Attributes:
        used: replies that it has carried.
        idle_since: when the last one ended.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.used = 0
        self.idle_since = 0.0
        self._reply: asyncio.Future[HTTPReply] | None = None
        self._seconds = 0.0
        self._deadline = Deadline(self._expire, lambda: self._got)
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(*[True] * 10)  # dangerous to servers alone
        self._clear()

    def _clear(self) -> None:
        self._got = 0  # bytes of the reply
        self._headers: dict[str, str] = {}
        self._in_body = False
        self._body: list[bytes] = []

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    @property
    def silent(self) -> bool:
        """Whether nothing of a reply has come."""
        return self._got == 0

    async def send(self, request: bytes, seconds: float) -> HTTPReply:
        """Send a whole request and return the reply.

        Raises:
            ConnectionFailedError: there was none.
        """
        assert self.transport is not None  # noqa: S101
        self._clear()
        reply: asyncio.Future[HTTPReply] = asyncio.get_running_loop().create_future()
        self._reply = reply
        self._seconds = seconds
        self._deadline.start(seconds)
        self.transport.write(request)
        try:
            return await reply
        except BaseException:
            # Cancelled, perhaps with the reply already here: it must not be taken for the next.
            self._reply = None
            self.abort()
            raise
        finally:
            self._deadline.stop()

    def _expire(self) -> None:
        self.fail(ConnectionFailedError(f"no reply within {self._seconds:g} s", timed_out=True))

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def fail(self, error: ConnectionFailedError) -> None:
        """End the request without a reply, and the connection with it."""
        reply, self._reply = self._reply, None
        if reply is not None and not reply.done():
            reply.set_exception(error)
        self.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._deadline.close()
        if self._reply is None:
            return
        is_chunked = "chunked" in self._headers.get("transfer-encoding", "").lower()
        until_the_end = not is_chunked and "content-length" not in self._headers
        if self._in_body and until_the_end and exc is None:
            self.on_message_complete()
            return
        why = f": {exc}" if exc is not None and str(exc) else ""
        if self._in_body:
            words = f"the reply was cut off after {sum(map(len, self._body))} bytes{why}"
        elif self._got:
            words = f"the reply was cut off within its head{why}"
        else:
            words = f"the connection failed: the server closed it without a reply{why}"
        self.fail(ConnectionFailedError(words))

    def data_received(self, data: bytes) -> None:
        if self._reply is None:
            self.abort()  # nothing was asked: what comes now is no reply to the next request
            return
        self._got += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            begins = self._got == len(data) and not self._in_body
            what = f"it begins with {data[:80].decode('latin-1')!r}" if begins else error
            self.fail(ConnectionFailedError(f"the reply is not HTTP: {what}"))
        most = _LARGEST_BODY if self._in_body else LARGEST_HEAD
        if self._got > most and self._reply is not None:
            part = "body" if self._in_body else "head"
            words = f"the reply is not HTTP: a {part} of more than {most} bytes"
            self.fail(ConnectionFailedError(words))

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._reply is None:
            self.abort()  # more than one reply

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # there a trailer
            field, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            before = self._headers.get(field)
            self._headers[field] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._in_body = True
        else:
            self._headers = {}  # "go on": the real head follows

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._in_body:
            return
        if not self._parser.should_keep_alive():
            self.abort()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        coding = self._headers.get("content-encoding")
        if coding:
            try:
                body = decompressed(coding, body)
            except ConnectionFailedError as error:
                self.fail(error)
                return
        reply, self._reply = self._reply, None
        self.used += 1
        self.idle_since = time.monotonic()
        if reply is not None and not reply.done():
            reply.set_result(HTTPReply(self._parser.get_status_code(), self._headers, body))


def decompressed(coding: str, body: bytes) -> bytes:
    """Return `body` without its content-encoding `coding`.

    Raises:
        ConnectionFailedError: it cannot be decompressed.
    """
    if body.lstrip()[:1] in (b"", b"{", b"["):
        return body  # no compressed body begins so: a proxy has decompressed it
    try:
        for one in reversed([name.strip().lower() for name in coding.split(",")]):
            if one in ("gzip", "x-gzip"):
                body = _unzipped(body)
            elif one == "deflate":
                # Without the head that belongs there, services send it as well.
                body = zlib.decompress(body, 15 if body[0] & 15 == 8 else -15)
            elif one not in ("identity", ""):
                raise ValueError(f"content-encoding {one!r} was not asked for")
    except (ValueError, zlib.error) as error:
        raise ConnectionFailedError(f"the reply cannot be decompressed: {error}") from None
    return body


def _unzipped(body: bytes) -> bytes:
    """Return all members of a gzip body, without what follows them."""
    whole, rest = b"", body
    while rest is body or rest[:2] == b"\x1f\x8b":
        member = zlib.decompressobj(47)  # 47: gzip or zlib, by its head
        whole += member.decompress(rest)
        if not member.eof:
            raise ValueError("it is cut off")
        rest = member.unused_data
    return whole


class ConnectionPool:
    """Connections to the host of a URL, as many as there are requests at once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None  # noqa: S101
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._idle: list[Connection] = []
        self._addresses: list[str] = []
        self._resolved_at = -_RESOLVED
        self._resolving = asyncio.Lock()

    async def post(self, request: bytes, seconds: float) -> HTTPReply:
        """Send a request and return the reply.

        Raises:
            ConnectionFailedError: there was none.
        """
        connection = self._idle_one() or await self._connect(seconds)
        reused = connection.used > 0
        try:
            reply = await connection.send(request, seconds)
        except ConnectionFailedError as error:
            if not (reused and connection.silent) or error.timed_out:
                raise
            # Closed by the server while it was idle: the request was not begun (RFC 9110, 9.2.2).
            connection = await self._connect(seconds)
            reply = await connection.send(request, seconds)
        if connection.is_open:
            self._idle.append(connection)
        return reply

    async def close(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def _idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()  # the one used last: others may be closed for their age
            if connection.is_open:
                if time.monotonic() - connection.idle_since < _KEEPALIVE:
                    return connection
                connection.abort()
        return None

    async def _connect(self, seconds: float) -> Connection:
        seconds = min(CONNECT_TIMEOUT, seconds)
        failed: OSError = OSError(f"{self._host} has no address")
        try:
            async with asyncio.timeout(seconds):
                for address in await self._resolve():
                    try:
                        _, connection = await asyncio.get_running_loop().create_connection(
                            Connection,
                            address,
                            self._port,
                            ssl=self._tls,
                            server_hostname=self._host if self._tls else None,
                        )
                    except OSError as error:  # an SSLError as well
                        failed = error
                    else:
                        self._addresses.sort(key=lambda one: one != address)
                        return connection
        except TimeoutError:
            raise ConnectionFailedError(
                f"cannot connect within {seconds:g} s", timed_out=True, unreachable=True
            ) from None
        except OSError as error:
            failed = error
        why = str(failed) or type(failed).__name__
        raise ConnectionFailedError(f"cannot connect: {why}", unreachable=True)

    async def _resolve(self) -> list[str]:
        """Return the addresses of the host, the one that answered last first."""
        async with self._resolving:
            if time.monotonic() - self._resolved_at >= _RESOLVED:
                found = await asyncio.get_running_loop().getaddrinfo(
                    self._host, self._port, type=socket.SOCK_STREAM
                )
                self._addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
                self._resolved_at = time.monotonic()
            return list(self._addresses)
