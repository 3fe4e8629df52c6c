"""Calls over a direct transport: the SDK prepares a request once, aiohttp sends the rest.

The SDK decides the URL, the headers and the authentication, and says what a refusal is; per call
it would also rebuild all of that and validate the whole reply, which takes ten times as long as
the call itself. So the client is asked once, through a transport that only listens, what it would
send; calls then go out with those headers and a body of our own.
"""

from __future__ import annotations

import importlib
import ssl
import urllib.request
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import openai
from yarl import URL

# Set by aiohttp itself for each call.
_PER_CALL = frozenset({"content-length", "host", "connection", "accept-encoding"})
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


def _http_library() -> ModuleType:
    """The HTTP library that the installed SDK is built on: httpx or its successor."""
    base = openai.DefaultAsyncHttpxClient.__bases__[0]
    return importlib.import_module(base.__module__.partition(".")[0])


class Listener:
    """An HTTP client for the SDK that sends nothing: it keeps the request and gives a reply.

    Attributes:
        request: the last request that the SDK would have sent.
    """

    def __init__(self) -> None:
        self.request: Any = None
        self._library = http = _http_library()
        self._reply = HTTPReply(200, {"content-type": "application/json"}, b"{}")
        listener = self

        class Transport(http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
            async def handle_async_request(self, request: Any) -> Any:
                return listener.heard(request)

        self.http_client = openai.DefaultAsyncHttpxClient(transport=Transport())

    def heard(self, request: Any) -> Any:
        self.request = request
        status, headers, body = self._reply
        return self._library.Response(status, headers=dict(headers), content=body, request=request)

    async def error_of(self, client: openai.AsyncOpenAI, reply: HTTPReply) -> openai.OpenAIError:
        """The SDK's own exception for `reply`; its request holds no key."""
        plain = {"content-type", "retry-after", "x-request-id"}
        headers = {name: value for name, value in reply.headers.items() if name.lower() in plain}
        before, self._reply = self._reply, reply._replace(headers=headers)
        try:
            await client.get("/models", cast_to=object)
        except openai.OpenAIError as error:
            request = getattr(error, "request", None)
            if request is not None:
                request.headers.pop("authorization", None)
                request.headers.pop("api-key", None)
            return error
        finally:
            self._reply = before
        return openai.OpenAIError(f"HTTP status {reply.status}")


class Template(NamedTuple):
    """What the SDK sends with each call to one path."""

    url: str
    headers: Mapping[str, str]


async def prepare(
    client: openai.AsyncOpenAI, listener: Listener, path: str, model: str
) -> Template:
    """What `client` sends to `path` when it calls `model`.

    By the SDK's generic `post`: its resources would load all types of the API, which takes longer
    than everything else.
    """
    await client.post(path, cast_to=object, body={"model": model})
    request = listener.request
    headers = {
        name: value for name, value in request.headers.items() if name.lower() not in _PER_CALL
    }
    return Template(str(request.url), headers | {"Accept-Encoding": "gzip, deflate"})


class Transport:
    """A pool of connections to one endpoint, as large as its gate lets it grow."""

    def __init__(self, url: str) -> None:
        self._proxy = _proxy_for(url)
        self._connector = aiohttp.TCPConnector(
            limit=0,  # the gate limits calls, and so connections
            ttl_dns_cache=None,
            keepalive_timeout=_KEEPALIVE,
            ssl=ssl.create_default_context() if url.startswith("https:") else False,
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
            proxy=self._proxy,
        )
        self._sessions.append(session)
        return Line(session, template.url, timeout)

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()
        await self._connector.close()


class Line:
    """Sends requests of one kind over a transport's connections."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeout: float) -> None:
        self._session = session
        self._url = URL(url, encoded=True)
        self._timeout = timeout

    async def post(self, body: bytes) -> HTTPReply:
        """Send `body`, and give the whole reply.

        Raises:
            ConnectionFailedError: there was none.
        """
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                return HTTPReply(response.status, response.headers, await response.read())
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


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url`: looked up once, not at every call."""
    parts = urlsplit(url)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)
