"""Calls over a direct transport: the SDK prepared them once (`_sdk`), aiohttp sends them."""

from __future__ import annotations

import re
import ssl
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

_CONNECT_TIMEOUT = 15.0  # seconds
_KEEPALIVE = 60.0  # seconds


class HTTPReply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ConnectionFailedError(Exception):
    """There was no whole reply; the message says why."""

    def __init__(self, words: str, *, timed_out: bool = False, unreachable: bool = False) -> None:
        super().__init__(words)
        self.timed_out = timed_out
        self.unreachable = unreachable


SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


class Template(NamedTuple):
    """What the SDK sends with each call to one path."""

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


class Transport:
    """A pool of connections to one endpoint, as large as its gate lets it grow."""

    def __init__(self, url: str) -> None:
        self._connector = aiohttp.TCPConnector(
            limit=0,  # the gate limits calls, and so connections
            ttl_dns_cache=None,
            keepalive_timeout=_KEEPALIVE,
            ssl=ssl.create_default_context() if url.startswith("https:") else True,
        )
        self._sessions: list[aiohttp.ClientSession] = []

    def line(self, template: Template, *, timeout: float) -> Line:
        """Where requests like `template` go, each for `timeout` seconds at most."""
        # A session's own headers are prepared once, those of a call each time.
        session = aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=template.headers,
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_TIMEOUT),
            proxy=_proxy_for(template.url),
        )
        self._sessions.append(session)
        return Line(session, template, timeout)

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()
        await self._connector.close()


class Line:
    """Sends requests of one kind over a transport's connections.

    Attributes:
        url: where to.
        credentials: what they authenticate with.
    """

    def __init__(self, session: aiohttp.ClientSession, template: Template, timeout: float) -> None:
        self.url = template.url
        self.credentials = template.credentials
        self._session = session
        self._url = URL(template.url, encoded=True)
        self._timeout = timeout

    async def post(self, body: bytes) -> HTTPReply:
        """Send `body`, and give the whole reply.

        Raises:
            ConnectionFailedError: there was none.
        """
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                body = await response.read()
                return HTTPReply(response.status, response.headers, self._redacted(response, body))
        except aiohttp.ConnectionTimeoutError:
            raise ConnectionFailedError(
                f"cannot connect within {_CONNECT_TIMEOUT:g} s", timed_out=True, unreachable=True
            ) from None
        except TimeoutError:
            raise ConnectionFailedError(
                f"no reply within {self._timeout:g} s", timed_out=True
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise ConnectionFailedError(
                f"cannot connect: {error.os_error or error}", unreachable=True
            ) from None
        except aiohttp.ClientPayloadError as error:
            raise ConnectionFailedError(f"the reply was cut off: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            words = str(error) or type(error).__name__
            raise ConnectionFailedError(f"the connection failed: {words}") from None

    def _redacted(self, response: aiohttp.ClientResponse, body: bytes) -> bytes:
        """`body` without the credentials, before any of it is cut, recorded or cached.

        Only what is long enough to be none by chance: a key `EMPTY` is also a word of a reply.
        """
        shortest = 5 if response.status >= 400 else 16
        for secret in self.credentials:
            if len(secret) >= shortest:
                body = body.replace(secret.encode("utf-8", "replace"), b"[key]")
        return body


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url`: looked up once, not at every call."""
    parts = urlsplit(url)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)
