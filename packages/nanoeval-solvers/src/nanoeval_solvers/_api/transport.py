"""Calls to one endpoint: the address says where to and with which headers.

A plain `http` or `https` endpoint is reached by our own connections (`http1`), one behind a proxy
by `aiohttp`. Both give the same replies and the same failures.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from nanoeval_core.errors import ConfigError

from nanoeval_solvers._api.http1 import (
    CONNECT_TIMEOUT,
    LARGEST_HEAD,
    ConnectionFailedError,
    ConnectionPool,
    Deadline,
    HTTPReply,
    decompressed,
)

if TYPE_CHECKING:
    import aiohttp

_MOST_HEADERS = 10_000
SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


class Address(NamedTuple):
    """Where calls of one kind go, and the headers that go with them."""

    url: str
    headers: Mapping[str, str]

    @property
    def credentials(self) -> frozenset[str]:
        """What must never be shown: the values of headers that authenticate."""
        return frozenset(
            re.sub(r"(?i)^(?:bearer|basic)\s+", "", value)
            for name, value in self.headers.items()
            if SECRET_HEADER.search(name)
        )


class Sender:
    """Sends requests to one address.

    Attributes:
        address: where to.
        timeout: seconds that a call may take.
    """

    def __init__(self, address: Address, *, timeout: float) -> None:
        self.address = address
        self.timeout = timeout
        for name, value in address.headers.items():
            if {"\r", "\n"} & {*name, *value}:
                raise ConfigError(f"header {name!r} holds a line break: it cannot be sent")
        proxy = proxy_for(address.url)
        self._secrets = [(one, one.encode("utf-8", "replace")) for one in address.credentials]
        self._connections: ConnectionPool | _Proxied
        if proxy is not None:
            self._connections = _Proxied(address, proxy)
            self._head = b""
            return
        self._connections = ConnectionPool(address.url)
        parts = urlsplit(address.url)
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += [f"{name}: {value}" for name, value in address.headers.items()]
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode("utf-8")

    async def post(self, body: bytes) -> HTTPReply:
        """Send `body`, and return the whole reply, without the credentials.

        Raises:
            ConnectionFailedError: there was none.
        """
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body) if self._head else body
        reply = await self._connections.post(request, self.timeout)
        # Only what is long enough to be none by chance: a key `EMPTY` is also a word of a reply.
        shortest = 5 if reply.status >= 400 else 16
        for secret, encoded in self._secrets:
            if len(secret) >= shortest and encoded in reply.body:
                reply = reply._replace(body=reply.body.replace(encoded, b"[key]"))
        return reply

    async def close(self) -> None:
        await self._connections.close()


class _Proxied:
    """Connections through a proxy."""

    def __init__(self, address: Address, proxy: str) -> None:
        self._address = address
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, seconds: float) -> HTTPReply:
        import aiohttp  # noqa: PLC0415  heavy, for what goes through a proxy only
        from yarl import URL  # noqa: PLC0415

        if self._session is None:
            tls = ssl.create_default_context() if self._address.url.startswith("https:") else True
            self._session = aiohttp.ClientSession(
                # The limiter limits calls, and so connections.
                connector=aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=60.0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers=self._address.headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                proxy=self._proxy,
                max_line_size=LARGEST_HEAD,
                max_field_size=LARGEST_HEAD,
                max_headers=_MOST_HEADERS,
            )
        url = URL(self._address.url, encoded=True)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        expired = False
        pieces: list[bytes] = []

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        deadline = Deadline(expire, lambda: len(pieces))
        deadline.start(seconds)
        try:
            async with self._session.post(url, data=body, allow_redirects=False) as response:
                async for piece in response.content.iter_any():
                    pieces.append(piece)  # noqa: PERF401  seen by the deadline
                headers = {name.lower(): value for name, value in response.headers.items()}
                body = decompressed(headers.get("content-encoding", ""), b"".join(pieces))
                return HTTPReply(response.status, headers, body)
        except asyncio.CancelledError:
            if not expired or task.uncancel() > 0:
                raise
            raise ConnectionFailedError(f"no reply within {seconds:g} s", timed_out=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(error, shown(self._proxy)) from None
        finally:
            deadline.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _failed(error: Exception, proxy: str) -> ConnectionFailedError:
    import aiohttp  # noqa: PLC0415  as above

    why = getattr(error, "os_error", None) or str(error) or type(error).__name__
    match error:
        case aiohttp.ClientProxyConnectionError():
            words = f"the proxy {proxy} cannot be reached: {why}"
        case aiohttp.ClientHttpProxyError():
            words = f"the proxy {proxy} refused with HTTP status {error.status}"
        case aiohttp.ConnectionTimeoutError():
            words = f"cannot connect through the proxy {proxy} within {CONNECT_TIMEOUT:g} s"
        case aiohttp.ClientConnectorError():
            words = f"cannot connect: {why}"
        case aiohttp.ClientPayloadError():
            return ConnectionFailedError(f"the reply was cut off: {why}")
        case _:
            return ConnectionFailedError(f"the connection failed: {why}")
    timed_out = isinstance(error, aiohttp.ConnectionTimeoutError)
    return ConnectionFailedError(words, timed_out=timed_out, unreachable=True)


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for `url`, as curl and others read it.

    Raises:
        ConfigError: it is one that we cannot use.
    """
    if sys.platform != "darwin" and not any(n.lower().endswith("_proxy") for n in os.environ):
        return None  # without what the import costs
    import urllib.request  # noqa: PLC0415  as said

    parts = urlsplit(url)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    proxies = urllib.request.getproxies()
    name = next((one for one in (parts.scheme, "all") if proxies.get(one)), None)
    if name is None:
        return None
    proxy = proxies[name]
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.lower().startswith(("http://", "https://")):
        raise ConfigError(
            f"the environment variable {name.upper()}_PROXY names the proxy {shown(proxy)}: only "
            "http and https proxies are supported. Name one of those, or list the endpoint's host "
            "in NO_PROXY"
        )
    return proxy


def shown(url: str) -> str:
    """Return a proxy's URL without its user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
