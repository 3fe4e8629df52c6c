"""What the SDK says: how a call is addressed and authenticated, and which error a refusal is.

This is the place where `openai` is imported. The SDK decides the URL, the headers and the
authentication; per call it would also rebuild all of that and validate the whole reply, which takes
ten times as long as the call itself. So the client is asked once, through a transport that only
listens, what it would send; calls then go out with those headers and a body of our own.
"""

from __future__ import annotations

import asyncio
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

import openai

from nanoeval_solvers._api.transport import SECRET_HEADER, HTTPReply, Template

if TYPE_CHECKING:
    from nanoeval_solvers.api_model import APIModel

# Set by aiohttp itself for each call.
_PER_CALL = frozenset({"content-length", "host", "connection", "accept-encoding"})


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
                for name in [name for name in request.headers if SECRET_HEADER.search(name)]:
                    del request.headers[name]
            return error
        finally:
            self._reply = before
        return openai.OpenAIError(f"HTTP status {reply.status}")


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


class SDK:
    """The SDK's client of one endpoint, which sends nothing itself."""

    def __init__(self, model: APIModel) -> None:
        self._listener = Listener()
        self._one_at_a_time = asyncio.Lock()  # the listener has one ear and one tongue
        self._client = model.make_client(
            base_url=model.endpoint_url,
            api_key=model.api_key(),
            max_retries=0,
            http_client=self._listener.http_client,
        )

    async def template(self, path: str, model: str) -> Template:
        """What it sends to `path` when it calls `model`."""
        async with self._one_at_a_time:
            return await prepare(self._client, self._listener, path, model)

    async def error_of(self, status: int, body: bytes) -> openai.OpenAIError:
        """Its exception for a reply of `status` with `body`."""
        async with self._one_at_a_time:
            return await self._listener.error_of(self._client, HTTPReply(status, {}, body))

    async def close(self) -> None:
        await self._client.close()
