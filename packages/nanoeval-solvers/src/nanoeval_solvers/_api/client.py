"""One client per endpoint and process, and what it does for a call.

A call waits at the endpoint's gate, is sent over the direct transport, and is sent again when it
failed for a reason that may pass. `_Clients` owns the clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import importlib
import math
import os
import random
import resource
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.recorder import get_recorder
from nanoeval_core.run_context import get_run_context
from nanoeval_core.usage import Usage, report_usage

from nanoeval_solvers import api_model
from nanoeval_solvers._api import wire as _wire
from nanoeval_solvers._api.cache import ReplyCache, key_of
from nanoeval_solvers._api.failures import Failure, Kind, delay_before, failure_of, rate_headers
from nanoeval_solvers._api.gate import Gate
from nanoeval_solvers._api.meeting import Meeting
from nanoeval_solvers._api.prepared import shared_template
from nanoeval_solvers._api.transport import (
    ConnectionFailedError,
    HTTPReply,
    Line,
    Template,
    Transport,
)
from nanoeval_solvers.reply import Problem, Reply

if TYPE_CHECKING:
    from nanoeval_solvers._api.sdk import SDK
    from nanoeval_solvers.api_model import APIModel

_SPARE_FILES = 128  # descriptors kept for everything that is not a connection
_TRIES_TO_CONNECT = 3  # beyond the first, to an endpoint that never answered


class _Lane:
    """What calls to one model of an endpoint share: its gate, its cache, and how it is reached."""

    def __init__(self, model: APIModel, line: Line) -> None:
        self.line = line
        self.gate = _gate_of(model, line)
        self.cache = _cache_of(model)
        self.answered = False
        self.served = False  # with success
        self.renewing = asyncio.Lock()
        self.closed_for_good: Failure | None = None

    async def close(self) -> None:
        self.gate.close()
        if self.cache is not None:
            await self.cache.close()

    @property
    def never_answered(self) -> bool:
        """Whether the endpoint is not known to exist, by any process of the run."""
        controller = self.gate.controller
        return not (self.answered or controller.successes or controller.refusals)


class Client:
    """The connections of this process to one endpoint.

    Attributes:
        users: how many have it open.
        loop: the event loop that it belongs to.
    """

    def __init__(self, model: APIModel) -> None:
        self.users = 0
        self.loop = asyncio.get_running_loop()  # held, so that its id is not another's
        self._url = model.endpoint_url
        api_model.check_url(self._url, "$OPENAI_BASE_URL")
        self._key = model.api_key()
        self._sdk: SDK | None = None
        self._outdated: list[SDK] = []
        self._transport = Transport(self._url)
        self._lanes: dict[tuple[Any, ...], _Lane] = {}
        self._preparing = asyncio.Lock()
        self._dice = random.Random()

    async def close(self) -> None:
        for lane in self._lanes.values():
            await lane.close()
        await self._transport.close()
        for sdk in (*self._outdated, self._sdk):
            if sdk is not None:
                await sdk.close()

    async def lane(self, model: APIModel) -> _Lane:
        lane = self._lanes.get(model.lane_id())
        if lane is not None:
            return lane
        async with self._preparing:
            if model.lane_id() not in self._lanes:
                template = await self._template(model)
                line = self._transport.line(template, timeout=model.timeout)
                self._lanes[model.lane_id()] = _Lane(model, line)
            return self._lanes[model.lane_id()]

    async def _template(self, model: APIModel) -> Template:
        context = get_run_context()
        if context is None or model.client_id:
            return await self._prepare(model)
        return await shared_template(
            Path(context.shared_dir),
            url=self._url + _wire.PATHS[model.api],
            model=model.model,
            key=self._key,
            prepare=lambda: self._prepare(model),
        )

    async def _prepare(self, model: APIModel) -> Template:
        return await (await self._open_sdk(model)).template(_wire.PATHS[model.api], model.model)

    async def _renewed(self, model: APIModel, lane: _Lane, refused: Line) -> bool:
        """Whether there are other credentials now than those that `refused` was sent with.

        Tokens expire and keys are rotated: then the SDK, or `APIModel.api_key`, has new ones.
        """
        if not lane.served:
            return False  # what never worked is wrong, not outdated
        async with lane.renewing:
            if lane.closed_for_good is not None:
                return False
            if lane.line is not refused:
                return True  # another call has just fetched them
            key = model.api_key()
            if key != self._key:
                self._outdated += [] if self._sdk is None else [self._sdk]
                self._key, self._sdk = key, None
            template = await self._prepare(model)
            if template.credentials == refused.credentials:
                return False
            lane.line = self._transport.line(template, timeout=model.timeout)
            return True

    async def _open_sdk(self, model: APIModel) -> SDK:
        if self._sdk is None:
            # On a thread: it takes a second, in which the event loop has other work.
            module = await asyncio.to_thread(importlib.import_module, "nanoeval_solvers._api.sdk")
            self._sdk = self._sdk or module.SDK(model)
        return self._sdk

    async def ask(
        self,
        model: APIModel,
        request: Mapping[str, Any],
        *,
        sample: str,
    ) -> Reply:
        """The reply to one request; see `APIModel.ask`."""
        lane = await self.lane(model)
        body = _wire.encode(request)
        if lane.cache is None:
            return (await self._send(model, lane, body))[0]
        key = key_of(lane.line.url, body, sample)
        stored = await lane.cache.get(key)
        if stored is not None:
            reply = _read(model, HTTPReply(stored[0], {}, stored[1]))
            if isinstance(reply, Reply):
                report_usage(Usage(cache_hits=1))
                return dataclasses.replace(reply, cached=True, usage=Usage(cache_hits=1))
        reply, http = await self._send(model, lane, body)
        await lane.cache.put(key, http.status, http.body)
        return reply

    async def _send(self, model: APIModel, lane: _Lane, body: bytes) -> tuple[Reply, HTTPReply]:
        """A reply that is a result, however many calls it takes."""
        started = time.monotonic()
        retries = 0
        renewed = False
        while True:
            line = lane.line
            outcome, http = await self._call(model, lane, body)
            if isinstance(outcome, Reply):
                usage = outcome.usage
                usage.retries = retries
                usage.cost = model.cost(usage)
                report_usage(usage)
                return dataclasses.replace(outcome, limit=lane.gate.window), http
            if outcome.status == 401 and not renewed and await self._renewed(model, lane, line):
                renewed = True
                retries += 1
                _record_retry(model, outcome, retries, 0.0)
                continue
            fatal = outcome.kind is Kind.FATAL or (
                outcome.unreachable and retries == _TRIES_TO_CONNECT and lane.never_answered
            )
            if fatal:
                if outcome.status != 400:  # which may be this one request's fault
                    lane.closed_for_good = outcome
                raise self._fatal(model, outcome) from await self._sdk_error(model, outcome)
            retries += 1
            delay = delay_before(retries, outcome, self._dice)
            if retries > model.max_retries or (
                time.monotonic() - started + delay > model.retry_seconds
            ):
                report_usage(Usage(requests=1, retries=retries - 1))
                raise self._exhausted(model, outcome, retries) from await self._sdk_error(
                    model, outcome
                )
            _record_retry(model, outcome, retries, delay)
            await asyncio.sleep(delay)

    async def _call(
        self, model: APIModel, lane: _Lane, body: bytes
    ) -> tuple[Reply | Failure, HTTPReply]:
        """One call, from the gate and back."""
        gate = lane.gate
        sent_at = await gate.enter()
        try:
            if lane.renewing.locked():  # the old credentials would be refused
                async with lane.renewing:
                    sent_at = time.monotonic()
            if lane.closed_for_good is not None:
                return lane.closed_for_good, HTTPReply(0, {}, b"")
            http = await lane.line.post(body)
            lane.answered = True
            outcome = _read(model, http)
            told = rate_headers(http.headers)
            if told is not None:
                gate.headers(limit=told[0], remaining=told[1], reset=told[2])
            if isinstance(outcome, Reply):
                latency = time.monotonic() - sent_at
                gate.succeeded(latency=latency, tokens=outcome.usage.total_tokens)
                lane.served = True
                return outcome, http
        except ConnectionFailedError as error:
            http = HTTPReply(0, {}, b"")
            outcome = Failure(
                kind=Kind.TRANSIENT,
                words=str(error),
                timed_out=error.timed_out,
                unreachable=error.unreachable,
            )
        finally:
            gate.leave()
        if outcome.kind is Kind.OVERLOADED or outcome.timed_out:
            gate.refused(sent_at=sent_at, severe=outcome.timed_out, retry_after=outcome.retry_after)
        return dataclasses.replace(outcome, words=self._redacted(outcome.words)), http

    def _redacted(self, words: str) -> str:
        return words.replace(self._key, "[key]") if len(self._key) > 4 else words

    async def _sdk_error(self, model: APIModel, failure: Failure) -> Exception | None:
        """The SDK's exception for `failure`, for who looks at the cause."""
        if failure.status is None or failure.status < 400:
            return None
        body = _wire.encode({"error": {"message": failure.words}})
        sdk = await self._open_sdk(model)
        error: Exception = await sdk.error_of(failure.status, body)
        return error

    def _fatal(self, model: APIModel, failure: Failure) -> ConfigError:
        if failure.status is None:
            return ConfigError(
                f"{self._url} cannot be reached: {failure.words.rstrip('.')}. To go on, check "
                "`base_url` and the network, and that the server is running"
            )
        moved = "check `base_url`: the endpoint is somewhere else, and calls follow no redirect"
        hint = {
            **dict.fromkeys((301, 302, 303, 307, 308), moved),
            401: f"check the key in the environment variable {model.api_key_env}",
            403: f"check what the key in the environment variable {model.api_key_env} may use",
            404: "check `model` and `base_url`: the address usually ends in /v1",
            429: "check the account's plan and billing",
        }.get(failure.status, "check the solver's arguments")
        return ConfigError(
            f"{self._url} refused a call to model {model.model!r} with HTTP status "
            f"{failure.status}: {failure.words.rstrip('.')}. To go on, {hint}"
        )

    def _exhausted(self, model: APIModel, failure: Failure, calls: int) -> RolloutSystemError:
        status = "" if failure.status is None else f"HTTP status {failure.status}: "
        return RolloutSystemError(
            f"{self._url} failed {calls} calls in a row to model {model.model!r}, the last with "
            f"{status}{failure.words}"
        )


def _read(model: APIModel, http: HTTPReply) -> Reply | Failure:
    """What an HTTP reply is: a reply of the model, a refusal that is a result, or a failure."""
    if 200 <= http.status < 300:
        try:
            return _wire.decode(model.api, http.body)
        except _wire.MalformedReplyError as error:
            return Failure(kind=Kind.TRANSIENT, words=str(error), status=http.status)
    failure = failure_of(http.status, http.headers, http.body, now=time.time())
    if failure.kind not in (Kind.CONTEXT_LENGTH, Kind.CONTENT_POLICY):
        return failure
    problem: Problem = "context_length" if failure.kind is Kind.CONTEXT_LENGTH else "content_policy"
    return Reply(
        text=failure.words,
        finish_reason=problem,
        problem=problem,
        usage=Usage(requests=1),
        raw=http.body,
    )


def _record_retry(model: APIModel, failure: Failure, retry: int, delay: float) -> None:
    get_recorder().record_extra(
        {
            "retry": retry,
            "model": model.model,
            "status": failure.status,
            "reason": failure.words,
            "delay": round(delay, 3),
        }
    )


def _gate_of(model: APIModel, line: Line) -> Gate:
    context = get_run_context()
    path = None
    if context is not None:
        url = line.url if model.client_id else model.endpoint_url
        name = hashlib.sha256(f"{url} {model.model}".encode()).hexdigest()[:16]
        path = Path(context.shared_dir) / f"api-limits-{name}"
    return Gate(
        Meeting(path),
        most=min(float(model.max_concurrency or math.inf), _connections_possible()),
        per_minute=model.requests_per_minute,
        tokens_per_minute=model.tokens_per_minute,
        guessed_tokens=float(model.max_tokens or 1000),
        gauges=None if context is None else context.gauges,
    )


def _connections_possible() -> float:
    """Connections that this process may open, after raising its limit as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if soft == resource.RLIM_INFINITY else float(max(1, soft - _SPARE_FILES))


def _cache_of(model: APIModel) -> ReplyCache | None:
    if model.cache is None:
        return None
    if model.cache != "run_set":
        return ReplyCache(Path(model.cache).expanduser() / "replies.sqlite")
    context = get_run_context()
    return None if context is None else ReplyCache(Path(context.shared_dir) / "replies.sqlite")


class _Clients:
    """Owns this process's clients: one per event loop and endpoint, closed by its last user."""

    open: dict[tuple[Any, ...], Client] = {}  # noqa: RUF012  this class is the owner


@contextlib.asynccontextmanager
async def open_client(model: APIModel) -> AsyncIterator[Client]:
    """The client of the endpoint of `model`, shared with whoever has it open in this event loop.

    Raises:
        ConfigError: there is no key, or the client cannot be built.
    """
    key = (
        os.getpid(),
        id(asyncio.get_running_loop()),
        model.endpoint_url,
        model.api_key_env,
        model.client_id,
    )
    client = _Clients.open.get(key)
    if client is None:
        client = _Clients.open[key] = Client(model)
    client.users += 1
    try:
        yield client
    finally:
        client.users -= 1
        if client.users == 0:
            del _Clients.open[key]
            await client.close()
