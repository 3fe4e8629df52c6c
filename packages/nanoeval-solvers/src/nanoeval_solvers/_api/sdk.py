"""What the SDK says: how a call is addressed and authenticated, and which error a refusal is.

This is the place where `openai` is imported. The SDK decides the URL, the headers and the
authentication; per call it would also rebuild all of that and validate the whole reply, which takes
ten times as long as the call itself. So the client is asked once, through a transport that sends
nothing, what it would send; calls then go out with those headers and a body of our own.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from typing import Any

import openai

from nanoeval_solvers._api.http1 import HTTPReply
from nanoeval_solvers._api.model_fields import ModelFields
from nanoeval_solvers._api.transport import SECRET_HEADER, Address

# Set for each call.
_PER_CALL = frozenset({"content-length", "host", "connection", "accept-encoding"})


class SDK:
    """The SDK's client of one endpoint, which sends nothing itself."""

    def __init__(self, model: ModelFields, key: str) -> None:
        # The HTTP library that the installed SDK is built on: httpx or its successor.
        base = openai.DefaultAsyncHttpxClient.__bases__[0]
        http: Any = importlib.import_module(base.__module__.partition(".")[0])
        sdk = self

        class Transport(http.AsyncBaseTransport):  # type: ignore[misc]
            async def handle_async_request(self, request: Any) -> Any:
                sdk._request = request
                status, headers, body = sdk._reply
                return http.Response(status, headers=dict(headers), content=body, request=request)

        self._request: Any = None  # the last one that it would have sent
        self._reply = _NOTHING
        self._one_at_a_time = asyncio.Lock()
        self._client = model.make_client(
            base_url=model.endpoint_url,
            api_key=key,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(transport=Transport()),
        )

    async def address(self, path: str, model: str) -> Address:
        """Return what it sends to `path` when it calls `model`.

        By the SDK's generic `post`: its resources would load all types of the API, which takes
        longer than everything else.
        """
        async with self._one_at_a_time:
            await self._client.post(path, cast_to=object, body={"model": model})
            request = self._request
            headers: Mapping[str, str] = request.headers
            sent = {name: value for name, value in headers.items() if name.lower() not in _PER_CALL}
            return Address(str(request.url), sent | {"accept-encoding": "gzip, deflate"})

    async def error_of(self, status: int, body: bytes) -> openai.OpenAIError:
        """Return its exception for a reply of `status` with `body`; its request holds no key."""
        async with self._one_at_a_time:
            self._reply = HTTPReply(status, {"content-type": "application/json"}, body)
            try:
                await self._client.get("/models", cast_to=object)
            except openai.OpenAIError as error:
                request = getattr(error, "request", None)
                if request is not None:
                    for name in [name for name in request.headers if SECRET_HEADER.search(name)]:
                        del request.headers[name]
                return error
            finally:
                self._reply = _NOTHING
            return openai.OpenAIError(f"HTTP status {status}")

    async def close(self) -> None:
        await self._client.close()


_NOTHING = HTTPReply(200, {"content-type": "application/json"}, b"{}")
