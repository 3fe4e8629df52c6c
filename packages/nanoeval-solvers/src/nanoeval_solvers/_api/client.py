"""One client per endpoint and process, and what it does for a call.

A call waits for its turn at the endpoint's limiter, is sent, and is sent again when it failed for a
reason that may pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import importlib
import logging
import math
import resource
import time
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nanoeval_core.errors import ConfigError, RequestRejectedError, RolloutSystemError
from nanoeval_core.recorder import get_recorder
from nanoeval_core.run_context import get_run_context
from nanoeval_core.usage import Usage, pause_clocks, report_usage

from nanoeval_solvers._api import wire
from nanoeval_solvers._api.address import kept_address
from nanoeval_solvers._api.cache import ReplyCache, key_of
from nanoeval_solvers._api.failures import (
    LONGEST_DELAY,
    LONGEST_WAIT,
    Failure,
    Meaning,
    delay_before,
    failure_of,
    rate_headers,
    status_in,
)
from nanoeval_solvers._api.http1 import ConnectionFailedError, HTTPReply
from nanoeval_solvers._api.limiter import Limiter, SharedFile
from nanoeval_solvers._api.model_fields import ModelFields, check_key, check_url
from nanoeval_solvers._api.transport import Address, Sender
from nanoeval_solvers.reply import Problem, Reply

if TYPE_CHECKING:
    from nanoeval_solvers._api.sdk import SDK

log = logging.getLogger("nanoeval.api")

_AT_ONCE = frozenset({Meaning.EMPTY, Meaning.STREAM_ONLY, Meaning.UNAUTHORIZED})
_PROBLEMS: Mapping[Meaning, Problem] = {
    Meaning.CONTEXT_LENGTH: "context_length",
    Meaning.CONTENT_POLICY: "content_policy",
}
_NO_REPLY = HTTPReply(0, {}, b"")
_SPARE_FILES = 128  # descriptors kept for everything that is not a connection
_TRIES_TO_CONNECT = 3  # beyond the first, to an endpoint that never answered
_ENOUGH_REJECTED = 8  # prompts, with none served, to say that it is not for what is in them
_SHARE_JUDGED_FROM = 100  # calls: `fail_on_error` as a share says nothing about fewer


@dataclasses.dataclass(kw_only=True, eq=False)
class _Route:
    """What calls to one model of an endpoint share, and what they have found out about it."""

    sender: Sender
    gauges: MutableMapping[str, float | str]
    limiter: Limiter
    cache: ReplyCache | None
    stream: bool
    renewing: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    answered: bool = False  # the endpoint answered at all
    served: bool = False  # it served a call
    unauthorized: int = 0  # calls refused with credentials that are the current ones, in a row
    starting: int = 0  # calls that wait for their first turn
    asking: int = 0  # calls that were sent and have no outcome yet, pauses between retries included
    # Rejected calls wait, while nothing was served, for others to show whether these requests are
    # rejected or all: how many, what the last of them was told, and hashes of their prompts.
    undecided: int = 0
    decided: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    rejection: Failure | None = None
    rejected_prompts: set[bytes] = dataclasses.field(default_factory=set)
    closed: Failure | None = None  # why no call will ever work
    failing: int = 0  # calls that failed since the last that was served
    replies: int = 0
    thoughts_only: int = 0

    async def first_turn(self) -> float:
        """Return when a new call starts: not while earlier ones decide whether any works.

        It counts as `asking` from then on.
        """
        self.starting += 1
        try:
            while True:
                while self._held:
                    await self.decided.wait()
                sent_at = await self.limiter.enter()
                if not self._held:
                    self.asking += 1
                    return sent_at
                self.limiter.leave()
        finally:
            self.starting -= 1
            self.decide_if_last()

    async def judge(self, failure: Failure, prompt: object, fail_on_error: float | None) -> None:
        """Set `closed` when a rejected request ends the run."""
        rejected = self.limiter.rejected()
        if fail_on_error is not None:
            ended = rejected + self.limiter.successes
            share = rejected / ended if ended >= _SHARE_JUDGED_FROM else 0.0
            if (rejected if fail_on_error >= 1 else share) >= fail_on_error:
                self.closed = failure
        elif not self._serves:
            self.undecided += 1
            self.rejection = failure
            self.rejected_prompts.add(hashlib.sha256(wire.encode(prompt)).digest())
            self.asking -= 1
            try:
                decided = self.decided
                self.decide_if_last()
                await decided.wait()
            finally:
                self.asking += 1

    def decide_if_last(self) -> None:
        """Decide when calls were rejected and none is left that may yet be served."""
        if self.undecided and not self.asking and (self._held or not self.starting):
            self.decide()

    def decide(self) -> None:
        """Let the undecided go on, now that one was served or that none in flight can be."""
        self.undecided = 0
        if self._enough_rejected and not self._serves:
            self.closed = self.closed or self.rejection
        self.decided.set()
        self.decided = asyncio.Event()

    @property
    def _serves(self) -> bool:
        return self.served or self.limiter.successes > 0

    @property
    def _enough_rejected(self) -> bool:
        """Whether the endpoint, if it served nothing, will serve nothing."""
        said_of_all = self.rejection is not None and self.rejection.whatever_is_asked
        return said_of_all or len(self.rejected_prompts) >= _ENOUGH_REJECTED

    @property
    def _held(self) -> bool:
        """Whether enough was rejected for those in flight to decide, and no others start."""
        return self.undecided > 0 and self._enough_rejected and self.closed is None

    def tell_failure(self, failure: Failure) -> None:
        """Say why nothing moves, for the display to show where nothing does."""
        self.failing += 1
        asked = failure.retry_after or 0.0
        if 10.0 < asked <= LONGEST_WAIT:
            until = time.strftime("%H:%M", time.localtime(time.time() + asked))
            self.gauges["api"] = f"the endpoint asks to wait until {until}"
        else:
            words = " ".join(failure.words.split())[:200].rstrip(".")
            times = f", repeated {self.failing} times" if self.failing > 1 else ""
            said = f"{_status(failure)}{words}{times}"
            self.gauges["api"] = f"calls to {self.sender.address.url} fail: {said}"

    def tell_success(self) -> None:
        self.served = True
        self.unauthorized = 0
        if self.failing:
            self.failing = 0
            self.gauges.pop("api", None)
        if self.undecided:
            self.decide()


class Client:
    """The connections of this process to one endpoint; its last user closes it."""

    def __init__(self, model: ModelFields, forget: Callable[[], object]) -> None:
        self._users = 0
        self._forget = forget
        self._url = model.endpoint_url
        check_url(self._url, "$OPENAI_BASE_URL")
        self._key = _key_of(model)
        self._sdk: SDK | None = None
        self._routes: dict[tuple[Any, ...], _Route] = {}
        self._preparing = asyncio.Lock()
        self._opened = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._users -= 1
        if not self._users:
            self._forget()
            await self._opened.aclose()

    async def ask(self, model: ModelFields, request: dict[str, Any], *, sample: str) -> Reply:
        """Return the reply to one request; see `APIModel.ask`."""
        route = self._routes.get(model.route_id) or await self._open_route(model)
        if route.cache is None:
            return (await self._send(model, route, request))[0]
        key = key_of(route.sender.address.url, wire.encode(request), sample)
        stored = await route.cache.get(key)
        if stored is not None:
            reply = _read(model, HTTPReply(stored[0], {}, stored[1]))
            if isinstance(reply, Reply):
                report_usage(Usage(cache_hits=1))
                reply.usage.cost = model.cost(reply.usage)
                return dataclasses.replace(
                    reply, cached=True, usage=Usage(cache_hits=1), first_usage=reply.usage
                )
        reply, http = await self._send(model, route, request)
        await route.cache.put(key, http.status, http.body)
        return reply

    # How calls are addressed.

    async def _open_route(self, model: ModelFields) -> _Route:
        async with self._preparing:
            if model.route_id in self._routes:
                return self._routes[model.route_id]
            ask, url = partial(self._ask_sdk, model), self._url + wire.PATHS[model.api]
            address = await (
                ask()
                if model.client_id
                else kept_address(url, model=model.model, key=self._key, prepare=ask)
            )
            context = get_run_context()
            gauges: dict[str, float | str] = {} if context is None else context.gauges
            shared = None if context is None else Path(context.shared_dir)
            cache = _cache_of(model, shared)
            if cache is not None:
                self._opened.push_async_callback(cache.close)
            route = self._routes[model.route_id] = _Route(
                sender=self._sender(model, address),
                gauges=gauges,
                limiter=_limiter_of(model, address, shared, gauges),
                cache=cache,
                stream=model.stream,
            )
            self._opened.callback(route.limiter.close)
            return route

    def _sender(self, model: ModelFields, address: Address) -> Sender:
        sender = Sender(address, timeout=model.timeout)
        self._opened.push_async_callback(sender.close)
        return sender

    async def _ask_sdk(self, model: ModelFields) -> Address:
        return await (await self._open_sdk(model)).address(wire.PATHS[model.api], model.model)

    async def _open_sdk(self, model: ModelFields) -> SDK:
        if self._sdk is None:
            # On a thread: it takes a second, in which the event loop has other work.
            module = await asyncio.to_thread(importlib.import_module, "nanoeval_solvers._api.sdk")
            if self._sdk is None:
                self._sdk = module.SDK(model, self._key)
                self._opened.push_async_callback(self._sdk.close)
        return self._sdk

    async def _renew(self, model: ModelFields, route: _Route, refused: Sender) -> None:
        """Fetch other credentials than those that `refused` was sent with, where there are some.

        Tokens expire and keys are rotated: then the SDK, or `APIModel.api_key`, has new ones.
        """
        async with route.renewing:
            if route.closed is not None or route.sender is not refused:
                return  # another call has just fetched them
            key = _key_of(model)
            if key != self._key:
                self._key, self._sdk = key, None
            address = await self._ask_sdk(model)
            if address.credentials == refused.address.credentials:
                route.unauthorized += 1
            else:
                route.sender = self._sender(model, address)

    # What happens to a call.

    async def _send(
        self, model: ModelFields, route: _Route, request: dict[str, Any]
    ) -> tuple[Reply, HTTPReply]:
        """Return a reply that is a result, however many calls it takes."""
        body = wire.encode(_streaming(model, request) if route.stream else request)
        started = time.monotonic()
        retries = 0
        once: tuple[Meaning, ...] = ()  # what was tried again at once, which is done once
        with pause_clocks.get()():
            sent_at = await route.first_turn()
        try:
            while True:
                sender = route.sender
                outcome, http = await self._call(model, route, body, sent_at)
                if isinstance(outcome, Reply):
                    if outcome.problem != "empty" or Meaning.EMPTY in once:
                        _finish_call(model, route, outcome, retries)
                        return outcome, http
                    outcome = Failure(
                        meaning=Meaning.EMPTY, words="an empty reply", status=http.status
                    )
                meaning, asked, delay = outcome.meaning, outcome.retry_after or 0.0, 0.0
                # What never worked is wrong, not outdated; odd 401s do not come in a row.
                known = meaning is not Meaning.UNAUTHORIZED or (
                    route.served and route.unauthorized < 3
                )
                if meaning in _AT_ONCE and meaning not in once and known:
                    once += (meaning,)
                    if meaning is Meaning.STREAM_ONLY:
                        route.stream = True
                        body = wire.encode(_streaming(model, request))
                    elif meaning is Meaning.UNAUTHORIZED:
                        await self._renew(model, route, sender)
                else:
                    delay = delay_before(retries + 1, outcome)
                    if max(model.retry_seconds, LONGEST_DELAY) < asked <= LONGEST_WAIT:
                        started += delay  # a pause that the endpoint asks for by name is no retry
                    else:
                        if (
                            meaning in (Meaning.REJECTED, Meaning.STREAM_ONLY)
                            and route.closed is None
                        ):
                            prompt = request.get("messages") or request.get("input")
                            await route.judge(outcome, prompt, model.fail_on_error)
                        waited = time.monotonic() - started + delay
                        await self._give_up(model, route, outcome, retries, waited)
                retries += 1
                _record_retry(model, outcome, retries, delay)
                with pause_clocks.get()():
                    if delay:
                        await asyncio.sleep(delay)
                    sent_at = await route.limiter.enter()
        finally:
            route.asking -= 1
            route.decide_if_last()

    async def _call(
        self, model: ModelFields, route: _Route, body: bytes, sent_at: float
    ) -> tuple[Reply | Failure, HTTPReply]:
        """Make one call, after `limiter.enter`."""
        limiter = route.limiter
        http = _NO_REPLY
        try:
            if route.renewing.locked():  # the old credentials would be refused
                async with route.renewing:
                    sent_at = time.monotonic()
            if route.closed is not None:
                return route.closed, http
            http = await route.sender.post(body)
            route.answered = True
            outcome = _read(model, http, limiter.window)
            told = rate_headers(http.headers, now=time.time())
            if told is not None:
                limiter.told(told)
            if isinstance(outcome, Reply):
                latency = time.monotonic() - sent_at
                limiter.succeeded(latency=latency, tokens=outcome.usage.total_tokens)
                route.tell_success()
                return outcome, http
        except ConnectionFailedError as error:
            outcome = Failure(
                meaning=Meaning.TRANSIENT,
                words=str(error),
                timed_out=error.timed_out,
                unreachable=error.unreachable,
            )
        finally:
            limiter.leave()
        if outcome.meaning is Meaning.OVERLOADED or outcome.timed_out:
            limiter.refused(sent_at=sent_at, retry_after=outcome.retry_after)
        if len(self._key) > 4:
            outcome = dataclasses.replace(outcome, words=outcome.words.replace(self._key, "[key]"))
        if outcome.meaning in (Meaning.OVERLOADED, Meaning.TRANSIENT):
            route.tell_failure(outcome)
        return outcome, http

    async def _give_up(
        self, model: ModelFields, route: _Route, failure: Failure, retries: int, waited: float
    ) -> None:
        """Raise what a failure means for the task or the run, unless it is to be tried again."""
        never_answered = not (route.answered or route.limiter.successes or route.limiter.refusals)
        if failure.meaning in (Meaning.FATAL, Meaning.UNAUTHORIZED) or (
            failure.unreachable and retries == _TRIES_TO_CONNECT and never_answered
        ):
            route.closed = failure
        if route.closed is not None:
            raise self._fatal(model, route.closed) from await self._sdk_error(model, route.closed)
        said = f"{_status(failure)}{failure.words}"
        error: Exception
        if failure.meaning in (Meaning.REJECTED, Meaning.STREAM_ONLY):
            error = RequestRejectedError(
                f"{self._url} rejected a request to model {model.model!r} with {said}"
            )
        elif retries >= model.max_retries or waited > model.retry_seconds:
            error = RolloutSystemError(
                f"{self._url} failed {retries + 1} calls in a row to model {model.model!r}, the "
                f"last with {said}"
            )
        else:
            return
        report_usage(Usage(requests=1, retries=retries))
        raise error from await self._sdk_error(model, failure)

    async def _sdk_error(self, model: ModelFields, failure: Failure) -> Exception | None:
        """Return the SDK's exception for `failure`, to be chained as `__cause__`."""
        if failure.status is None or failure.status < 400:
            return None
        sdk = await self._open_sdk(model)
        body = wire.encode({"error": {"message": failure.words}})
        return await sdk.error_of(failure.status, body)

    def _fatal(self, model: ModelFields, failure: Failure) -> ConfigError:
        if failure.status is None:
            return ConfigError(
                f"{self._url} cannot be reached: {failure.words.rstrip('.')}. To go on, check "
                "`base_url` and the network, and that the server is running"
            )
        moved = "check `base_url`: the endpoint is somewhere else, and calls follow no redirect"
        hint = {
            **dict.fromkeys((301, 302, 303, 307, 308), moved),
            401: f"check the key in the environment variable {model.api_key_env}",
            402: "check the account's plan and billing",
            403: f"check what the key in the environment variable {model.api_key_env} may use",
            404: "check `model` and `base_url`: the address usually ends in /v1",
            407: "check the user and the password of the proxy",
            429: "check the account's plan and billing",
        }.get(failure.status, "check the solver's arguments")
        return ConfigError(
            f"{self._url} refused a call to model {model.model!r} with HTTP status "
            f"{failure.status}: {failure.words.rstrip('.')}. To go on, {hint}"
        )


def _finish_call(model: ModelFields, route: _Route, reply: Reply, retries: int) -> None:
    """Count and report what a reply took."""
    route.replies += 1
    if reply.only_reasoning:
        route.thoughts_only += 1
        if route.thoughts_only == 10 and route.thoughts_only * 2 > route.replies:
            log.warning(
                "%d of %d replies of model %r hold their text in the reasoning and no answer: "
                "raise max_tokens, or lower reasoning_effort",
                route.thoughts_only,
                route.replies,
                model.model,
            )
    reply.usage.retries = retries
    reply.usage.cost = model.cost(reply.usage)
    report_usage(reply.usage)


def _status(failure: Failure) -> str:
    return "" if failure.status is None else f"HTTP status {failure.status}: "


def _key_of(model: ModelFields) -> str:
    key = model.api_key()
    check_key(key, f"{type(model).__name__}.api_key()")
    return key


def _streaming(model: ModelFields, request: dict[str, Any]) -> dict[str, Any]:
    usage = {"stream_options": {"include_usage": True}} if model.api == "chat" else {}
    return {**request, "stream": True, **usage}


def _read(model: ModelFields, http: HTTPReply, limit: int | None = None) -> Reply | Failure:
    """Return what an HTTP reply is: the model's reply, a refusal as a result, or a failure."""
    status, headers, body = http
    if 200 <= status < 300:
        try:
            return wire.decode(model.api, body, limit)
        except wire.MalformedReplyError as error:
            return Failure(meaning=Meaning.TRANSIENT, words=str(error), status=status)
        except wire.FailedReplyError as error:
            status, body = status_in(error.body), error.body
    failure = failure_of(status, headers, body, now=time.time())
    problem = _PROBLEMS.get(failure.meaning)
    if problem is None:
        return failure
    return Reply(
        text=failure.words,
        finish_reason=problem,
        problem=problem,
        usage=Usage(requests=1),
        limit=limit,
        raw=http.body,
    )


def _record_retry(model: ModelFields, failure: Failure, retry: int, delay: float) -> None:
    get_recorder().record_extra(
        {
            "retry": retry,
            "model": model.model,
            "status": failure.status,
            "reason": failure.words,
            "delay": round(delay, 3),
        }
    )


def _limiter_of(
    model: ModelFields,
    address: Address,
    shared: Path | None,
    gauges: MutableMapping[str, float | str],
) -> Limiter:
    url = address.url if model.client_id else model.endpoint_url
    name = hashlib.sha256(f"{url} {model.model}".encode()).hexdigest()[:16]
    return Limiter(
        SharedFile(None if shared is None else shared / f"api-limits-{name}"),
        most=min(float(model.max_concurrency or math.inf), _connections_possible()),
        per_minute=model.requests_per_minute,
        tokens_per_minute=model.tokens_per_minute,
        guessed_tokens=float(model.max_tokens or 1000),
        gauges=gauges,
    )


def _connections_possible() -> float:
    """Return connections that this process may open, after raising its limit as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if soft == resource.RLIM_INFINITY else float(max(1, soft - _SPARE_FILES))


def _cache_of(model: ModelFields, shared: Path | None) -> ReplyCache | None:
    if model.cache is None:
        return None
    folder = shared if model.cache == "run_set" else Path(model.cache).expanduser()
    return None if folder is None else ReplyCache(folder / "replies.sqlite")


_clients: dict[tuple[Any, ...], Client] = {}  # by event loop and endpoint, until their last user


def open_client(model: ModelFields) -> Client:
    """Return the client of the endpoint of `model`, shared by all users in this event loop.

    Raises:
        ConfigError: there is no key, or the client cannot be built.
    """
    loop = asyncio.get_running_loop()
    key = (loop, model.endpoint_url, model.api_key_env, model.client_id)
    client = _clients.get(key)
    if client is None:
        client = _clients[key] = Client(model, forget=lambda: _clients.pop(key))
    return client
