"""A small HTTP/1.1 client over asyncio's protocols, for POST requests to one host.

It does what calls to model endpoints need and nothing else: connections kept alive, TLS by asyncio,
bodies by length, in chunks or until the end of the connection, gzip and deflate. It costs a
fraction of a general client. Whatever is unusual, a proxy above all, is left to `aiohttp`.
"""

from __future__ import annotations

import asyncio
import errno
import math
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

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
        self._clear()

    def _clear(self) -> None:
        self._buffer = b""
        self._got = 0  # bytes of the reply
        self._status = 0
        self._headers: dict[str, str] = {}
        self._in_body = False
        self._length: int | None = None  # bytes of the body; None: until the connection ends
        self._chunked = False
        self._chunk_left = 0  # bytes of the current chunk
        self._in_trailer = False
        self._body: list[bytes] = []
        self._body_size = 0
        self._keep = True

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
        if self._in_body and self._length is None and not self._chunked and exc is None:
            self._done()
            return
        why = f": {exc}" if exc is not None and str(exc) else ""
        if self._in_body:
            words = f"the reply was cut off after {self._body_size} bytes{why}"
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
        self._buffer = self._buffer + data if self._buffer else data
        try:
            while not self._in_body:
                if not self._read_head():
                    return
            if self._chunked:
                self._read_chunks()
            else:
                self._take(self._buffer)
                self._buffer = b""
                if self._length is not None and self._body_size >= self._length:
                    self._keep = self._keep and self._body_size == self._length
                    self._done()
        except ValueError as error:
            self.fail(ConnectionFailedError(f"the reply is not HTTP: {error}"))

    def _read_head(self) -> bool:
        """Read a head; whether there was a whole one."""
        end, size = self._buffer.find(b"\r\n\r\n"), 4
        bare = self._buffer.find(b"\n\n", 0, end if end >= 0 else len(self._buffer))
        if bare >= 0:
            end, size = bare, 2
        if end < 0:
            if len(self._buffer) > LARGEST_HEAD:
                raise ValueError(f"a head of more than {LARGEST_HEAD} bytes")
            return False
        lines = self._buffer[:end].decode("latin-1").replace("\r\n", "\n").split("\n")
        self._buffer = self._buffer[end + size :]
        version, _, rest = lines[0].partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not code.isdigit():
            raise ValueError(f"it begins with {lines[0][:80]!r}")
        self._status = int(code)
        headers: dict[str, str] = {}
        name = ""
        for line in lines[1:]:
            if line[:1] in (" ", "\t"):  # a value that goes on, as it was allowed once
                headers[name] = f"{headers.get(name, '')} {line.strip()}"
                continue
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if 100 <= self._status < 200:
            if self._status == 101:
                raise ValueError("it switches protocols")
            return True  # "go on": the real head follows
        self._headers = headers
        connection = headers.get("connection", "").lower()
        self._keep = "close" not in connection and (
            version != "HTTP/1.0" or "keep-alive" in connection
        )
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        if self._status in (204, 304):
            self._length = 0
        elif not self._chunked and "content-length" in headers:
            self._length = int(headers["content-length"].partition(",")[0])
        self._in_body = True
        return True

    def _read_chunks(self) -> None:
        at, buffer = 0, self._buffer
        while True:
            if self._chunk_left:
                piece = buffer[at : at + self._chunk_left]
                self._take(piece)
                at += len(piece)
                self._chunk_left -= len(piece)
                if self._chunk_left:
                    break
            end = buffer.find(b"\n", at)
            if end < 0:
                break
            line = buffer[at:end].strip()
            at = end + 1
            if self._in_trailer:
                if not line:
                    self._keep = self._keep and at == len(buffer)
                    self._buffer = b""
                    self._done()
                    return
            elif line:  # an empty one ends the chunk before
                self._chunk_left = int(line.partition(b";")[0], 16)
                if self._chunk_left < 0:
                    raise ValueError("a chunk of negative size")
                self._in_trailer = self._chunk_left == 0
        self._buffer = buffer[at:]

    def _take(self, piece: bytes) -> None:
        self._body.append(piece)
        self._body_size += len(piece)
        if self._body_size > _LARGEST_BODY:
            raise ValueError(f"a body of more than {_LARGEST_BODY} bytes")

    def _done(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        if self._length is not None:
            body = body[: self._length]
        coding = self._headers.get("content-encoding")
        if coding:
            try:
                body = decompressed(coding, body)
            except ConnectionFailedError as error:
                self.fail(error)
                return
        reply, self._reply = self._reply, None
        if not self._keep:
            self.abort()
        self.used += 1
        self.idle_since = time.monotonic()
        if reply is not None and not reply.done():
            reply.set_result(HTTPReply(self._status, self._headers, body))


def decompressed(coding: str, body: bytes) -> bytes:
    """Return `body` without its content-encoding `coding`.

    Raises:
        ConnectionFailedError: it cannot be decompressed.
    """
    if body.lstrip()[:1] in (b"", b"{", b"["):
        return body  # no compressed body begins so: a proxy has decompressed it
    try:
        return _decoded(coding, body)
    except (ValueError, zlib.error) as error:
        raise ConnectionFailedError(f"the reply cannot be decompressed: {error}") from None


def _decoded(coding: str, body: bytes) -> bytes:
    for one in reversed([name.strip().lower() for name in coding.split(",")]):
        if one in ("gzip", "x-gzip"):
            body = _unzipped(body)
        elif one == "deflate":
            try:
                body = zlib.decompress(body)
            except zlib.error:
                body = zlib.decompress(body, -15)  # without the head that belongs there
        elif one not in ("identity", ""):
            raise ValueError(f"content-encoding {one!r} was not asked for")
    return body


def _unzipped(body: bytes) -> bytes:
    """Return all members of a gzip body, without what follows them."""
    whole = b""
    while body[:2] == b"\x1f\x8b" or not whole:
        member = zlib.decompressobj(47)  # 47: gzip or zlib, by its head
        whole += member.decompress(body)
        if not member.eof:
            raise ValueError("it is cut off")
        body = member.unused_data
        if not body:
            break
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
        try:
            async with asyncio.timeout(min(CONNECT_TIMEOUT, seconds)):
                return await self._connect_to_any(await self._resolve())
        except TimeoutError:
            raise ConnectionFailedError(
                f"cannot connect within {min(CONNECT_TIMEOUT, seconds):g} s",
                timed_out=True,
                unreachable=True,
            ) from None
        except OSError as error:  # an SSLError as well
            raise ConnectionFailedError(
                f"cannot connect: {_in_words(error)}", unreachable=True
            ) from None

    async def _connect_to_any(self, addresses: list[str]) -> Connection:
        loop = asyncio.get_running_loop()
        failed: OSError | None = None
        for address in addresses:
            try:
                _, connection = await loop.create_connection(
                    Connection,
                    address,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            except OSError as error:
                failed = failed or error
                if error.errno == errno.EMFILE:
                    break
            else:
                if self._addresses[0] != address:  # the next ones begin with what works
                    self._addresses = [address, *(a for a in addresses if a != address)]
                return connection
        raise failed or OSError(f"{self._host} has no address")

    async def _resolve(self) -> list[str]:
        async with self._resolving:
            if time.monotonic() - self._resolved_at >= _RESOLVED:
                found = await asyncio.get_running_loop().getaddrinfo(
                    self._host,
                    self._port,
                    type=1,  # SOCK_STREAM
                )
                self._addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
                self._resolved_at = time.monotonic()
            return self._addresses


def _in_words(error: OSError) -> str:
    return str(error) or type(error).__name__
