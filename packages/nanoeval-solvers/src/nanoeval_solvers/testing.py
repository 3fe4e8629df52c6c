"""A model endpoint for tests: a real HTTP server on loopback that says what it is told to.

With pytest, take the fixtures `model_server` (a `ModelServer`) and `run_eval` (runs an eval in
milliseconds and gives its summary); both come with this package. Elsewhere:

    with ModelServer(replies=["Answer: B"]) as server:
        solver = OpenAIAPIMCQSolver(model="any", base_url=server.url)
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["ModelServer", "Request", "Script", "Scripted", "ScriptedCall", "chat_fault"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that the server got.

    Attributes:
        path: such as `/v1/chat/completions`.
        headers: with names in lower case.
        body: decoded.
        at: seconds, by `time.monotonic`.
    """

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    at: float

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat as chat completions have it, whichever API was called."""
        return _chat_of(self.body)

    @property
    def prompt(self) -> str:
        """The text of the last message, or of the last tool's result."""
        messages = self.messages
        content = messages[-1].get("content") or "" if messages else ""
        if isinstance(content, str):
            return content
        return "\n".join(part.get("text", "") for part in content)


ScriptedCall = tuple[str, Any] | Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A reply, in all detail. A plain text stands for one with that `text`.

    Args:
        text: what the model says; None says nothing at all.
        status: of the HTTP reply; from 400 on, `text` is the error's message.
        code: of the error, such as `context_length_exceeded`.
        headers: of the HTTP reply, such as `{"Retry-After": "1"}`.
        latency: seconds before the reply; by default the server's.
        finish_reason: `length`, `content_filter`, …; by default `stop`, or `tool_calls`.
        refusal: the model's refusal, instead of text.
        tool_calls: the tools that the model calls: `("add", {"a": 1})`, or `(…, "the text of the
            arguments")`, or a mapping with `name`, `arguments` and `id` (None leaves it out; by
            default each call of the server has its own).
        reasoning: what the model thought, in the field `reasoning_content`.
        top_logprobs: for each token of the reply, the log probability of each candidate.
        usage: further fields of `usage`, such as `{"prompt_tokens": 7}`.
        fault: `hang` never replies, `disconnect` closes the connection before a reply, `truncate`
            in the middle of one, and `garbage` sends a whole reply that is no JSON.
    """

    text: str | None = ""
    status: int = 200
    code: str | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    latency: float | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ScriptedCall, ...] = ()
    reasoning: str | None = None
    top_logprobs: tuple[Mapping[str, float], ...] | None = None
    usage: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fault: Literal["hang", "disconnect", "truncate", "garbage"] | None = None


Script = str | Scripted | Callable[[Request], "str | Scripted"]


class ModelServer:
    """Serves an OpenAI-compatible API on loopback, in a thread of this process.

    Attributes:
        requests: what it was asked, in order of arrival.
        reply: what it says when `replies` are used up; a function is called with the request.
        replies: what it says before that, one each.
        latency: seconds before each reply.
        rate_limit: calls served per second, over a sliding second; others are refused with 429.
        concurrency_limit: calls served at once; others are refused with 429.
        refusal_headers: of those 429s.
        api_key: when set, calls with another key are refused with 401.
        strict: chats are refused with 400 unless they are valid in every detail, as the strictest
            endpoints want them: each tool call answered once, right after the message that makes
            it; arguments that are JSON objects; ids used once; no message without content; user
            and assistant taking turns.
        stream_only: requests are refused with 400 unless they ask for a stream.
        served: calls that got a reply of success.
        refused: calls that were refused for want of capacity.
        in_flight: calls being served now, and `most_in_flight` at most so far.
    """

    def __init__(self, *, replies: Iterable[Script] = (), reply: Script = "Answer: A") -> None:
        self.requests: list[Request] = []
        self.replies: deque[Script] = deque(replies)
        self.reply: Script = reply
        self.latency = 0.0
        self.rate_limit: float | None = None
        self.concurrency_limit: int | None = None
        self.refusal_headers: Mapping[str, str] = {}
        self.api_key: str | None = None
        self.strict = False
        self.stream_only = False
        self.served = 0
        self.refused = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._recent: deque[float] = deque()
        self._port = 0
        self._close: Callable[[], None] | None = None

    @property
    def url(self) -> str:
        """What to give as `base_url`."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Self:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=loop.run_forever, name="nanoeval-model-server", daemon=True
        )
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self._serve(), loop).result()

        async def end() -> None:
            await runner.cleanup()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for request in left:  # those that still wait
                request.cancel()
            if left:
                await asyncio.wait(left)

        def close() -> None:
            asyncio.run_coroutine_threadsafe(end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

        self._close = close
        return self

    def __exit__(self, *exc: object) -> None:
        if self._close is not None:
            self._close()

    async def _serve(self) -> web.AppRunner:
        from aiohttp import web  # noqa: PLC0415  heavy, for servers only

        async def no_models(_: web.Request) -> web.Response:
            return web.json_response({"object": "list", "data": []})

        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/{path:.*}", self._handle)
        app.router.add_get("/v1/models", no_models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        self._port = runner.addresses[0][1]
        return runner

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        request = Request(
            path=http.path,
            headers={name.lower(): value for name, value in http.headers.items()},
            body=await http.json(),
            at=time.monotonic(),
        )
        self.requests.append(request)
        refusal = self._refusal(request)
        if refusal is not None:
            return await self._send(http, request, refusal)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            script = self.replies.popleft() if self.replies else self.reply
            said = script(request) if callable(script) else script
            scripted = Scripted(text=said) if isinstance(said, str) else said
            latency = self.latency if scripted.latency is None else scripted.latency
            if latency:
                await asyncio.sleep(latency)
            return await self._send(http, request, scripted)
        finally:
            self.in_flight -= 1

    def _refusal(self, request: Request) -> Scripted | None:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.api_key not in (None, key):
            words = f"Incorrect API key provided: {key}."
            return Scripted(status=401, text=words, code="invalid_api_key")
        wrong = chat_fault(request.body) if self.strict else None
        if wrong is not None:
            return Scripted(status=400, text=f"Invalid chat: {wrong}", code="invalid_chat")
        if self.stream_only and not request.body.get("stream"):
            return Scripted(status=400, text="This model only supports stream mode.")
        while self._recent and self._recent[0] <= request.at - 1.0:
            self._recent.popleft()
        too_fast = self.rate_limit is not None and len(self._recent) >= self.rate_limit
        too_many = self.concurrency_limit is not None and self.in_flight >= self.concurrency_limit
        if too_fast or too_many:
            self.refused += 1
            return Scripted(
                status=429,
                text="Rate limit reached: try again later.",
                code="rate_limit_exceeded",
                headers=self.refusal_headers,
            )
        self._recent.append(request.at)
        return None

    async def _send(
        self, http: web.Request, request: Request, scripted: Scripted
    ) -> web.StreamResponse:
        from aiohttp import web  # noqa: PLC0415

        if scripted.fault == "hang":
            await asyncio.sleep(3600)
        if scripted.fault == "disconnect" and http.transport is not None:
            http.transport.abort()
            return web.Response()
        body = _body(request, scripted)
        headers = {"Content-Type": "application/json", **scripted.headers}
        if scripted.fault == "truncate":
            response = web.StreamResponse(status=200, headers=headers)
            response.content_length = len(body)
            await response.prepare(http)
            await response.write(body[: len(body) // 2])
            if http.transport is not None:
                http.transport.close()
            return response
        if scripted.status < 400:
            self.served += 1
        return web.Response(status=scripted.status, headers=headers, body=body)


def _body(request: Request, scripted: Scripted) -> bytes:
    if scripted.fault == "garbage":
        return b"<html>bad gateway</html>"
    if scripted.status >= 400:
        error = {"message": scripted.text, "type": "error", "code": scripted.code}
        return json.dumps({"error": error}).encode()
    as_chat = request.path.endswith("/chat/completions")
    whole = _chat(request, scripted)
    if not as_chat:
        whole = _response(request, whole)
    if not request.body.get("stream"):
        return json.dumps(whole).encode()
    events = _chunks(whole) if as_chat else [{"type": "response.completed", "response": whole}]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n" if as_chat else ""]).encode()


def _chunks(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a reply of chat completions as a stream: text by text, arguments in two pieces."""
    (choice,) = whole["choices"]
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    for name in ("reasoning_content", "content", "refusal"):
        deltas += [{name: piece} for piece in re.findall(r"\s*\S+\s*|\s+", message.get(name) or "")]
    for index, call in enumerate(message.get("tool_calls", ())):
        function, cut = call["function"], len(call["function"]["arguments"]) // 2
        head = {**function, "arguments": function["arguments"][:cut]}
        deltas.append({"tool_calls": [{**call, "index": index, "function": head}]})
        tail = {"arguments": function["arguments"][cut:]}
        deltas.append({"tool_calls": [{"index": index, "function": tail}]})
    chunk = {"object": "chat.completion.chunk", "model": whole["model"]}
    events = [{**chunk, "choices": [{"index": 0, "delta": one}]} for one in deltas]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    if choice["logprobs"] is not None:
        end["logprobs"] = choice["logprobs"]
    events.append({**chunk, "choices": [end]})
    return [*events, {**chunk, "choices": [], "usage": whole["usage"]}]


def _chat(request: Request, scripted: Scripted) -> dict[str, Any]:
    usage = {
        "prompt_tokens": len(request.prompt.split()),
        "completion_tokens": len((scripted.text or "").split()),
    } | dict(scripted.usage)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": scripted.text,
        "refusal": scripted.refusal,
    }
    if scripted.reasoning is not None:
        message["reasoning_content"] = scripted.reasoning
    if scripted.tool_calls:
        message["tool_calls"] = [_call(one) for one in scripted.tool_calls]
    logprobs = None
    if scripted.top_logprobs is not None:
        logprobs = {"content": [_token(top) for top in scripted.top_logprobs]}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": request.body.get("model"),
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": scripted.finish_reason
                or ("tool_calls" if scripted.tool_calls else "stop"),
                "logprobs": logprobs,
            }
        ],
        "usage": {**usage, "total_tokens": sum(v for v in usage.values() if isinstance(v, int))},
    }


_numbers = itertools.count(1)


def _call(scripted: ScriptedCall) -> dict[str, Any]:
    if isinstance(scripted, Mapping):
        call = dict(scripted)
    else:
        call = {"name": scripted[0], "arguments": scripted[1]}
    arguments = call.get("arguments", {})
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    made = {"type": "function", "function": {"name": call.get("name"), "arguments": written}}
    own = call.get("id", f"call_{next(_numbers)}")
    return made if own is None else made | {"id": own}


def _token(top: Mapping[str, float]) -> dict[str, Any]:
    best = max(top, key=lambda token: top[token]) if top else ""
    return {
        "token": best,
        "logprob": top.get(best, 0.0),
        "bytes": None,
        "top_logprobs": [{"token": t, "logprob": p, "bytes": None} for t, p in top.items()],
    }


def _response(request: Request, chat: dict[str, Any]) -> dict[str, Any]:
    """Return a reply of chat completions as the responses API has it."""
    (choice,) = chat["choices"]
    message, usage = choice["message"], dict(chat["usage"])
    part: dict[str, Any] = {"type": "output_text", "text": message["content"], "annotations": []}
    if message["refusal"] is not None:
        part = {"type": "refusal", "refusal": message["refusal"]}
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = reasons.get(choice["finish_reason"])
    status = "incomplete" if reason else "completed"
    calls = message.get("tool_calls", ())
    output: list[dict[str, Any]] = []
    if "reasoning_content" in message:
        summary = [{"type": "summary_text", "text": message["reasoning_content"]}]
        output.append({"type": "reasoning", "id": "r", "summary": summary})
        if "reasoning.encrypted_content" in request.body.get("include", ()):
            output[-1]["encrypted_content"] = "c2VjcmV0"
    if message["content"] or message["refusal"] or not calls:
        said = {"role": "assistant", "status": status, "content": [part]}
        output.append({"type": "message", "id": "m", **said})
    output += [
        {
            "type": "function_call",
            "id": f"fc_{index}",
            "call_id": call.get("id"),
            **call["function"],
            "status": "completed",
        }
        for index, call in enumerate(calls)
    ]
    tokens = {
        "input_tokens": usage.pop("prompt_tokens"),
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.pop("completion_tokens"),
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": chat["model"],
        "status": status,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": tokens | usage,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def chat_fault(body: Mapping[str, Any]) -> str | None:
    """Return what the strictest endpoints would refuse in a request of either API."""
    messages = _chat_of(body)
    open_calls: list[str] = []
    ids: set[str] = set()
    before = None
    for at, message in enumerate(messages):
        role = message.get("role")
        calls = message.get("tool_calls")
        where = f"messages[{at}]"
        if not message.get("content") and not calls:
            return f"{where}: no content"
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                return f"{where}: no open call {message.get('tool_call_id')!r}"
            open_calls.remove(message["tool_call_id"])
        elif open_calls:
            return f"{where}: call {open_calls[0]!r} has no result"
        elif role == before and role != "system":
            return f"{where}: two messages of {role!r} in a row"
        for call in calls or ():
            wrong = _call_fault(call, ids, has_tools=bool(body.get("tools")))
            if wrong is not None:
                return f"{where}: {wrong}"
            ids.add(call["id"])
            open_calls.append(call["id"])
        before = role
    return f"call {open_calls[0]!r} has no result" if open_calls else None


def _call_fault(call: Mapping[str, Any], ids: set[str], *, has_tools: bool) -> str | None:
    function = call.get("function", {})
    try:
        arguments = json.loads(function.get("arguments"))
    except (TypeError, ValueError):
        arguments = None
    if not call.get("id") or call["id"] in ids:
        return f"id {call.get('id')!r} is missing or not unique"
    if not isinstance(arguments, dict):
        return "arguments that are no JSON object"
    if not function.get("name") or not has_tools:
        return "a call without a name, or without tools in the request"
    return None


def _chat_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the chat of a request as chat completions have it."""
    items = body.get("messages") or body.get("input") or []
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    if "messages" in body:
        return list(items)
    messages: list[dict[str, Any]] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call_output":
            messages.append(
                {"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}
            )
        elif kind == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(
                {"id": item["call_id"], "function": function}
            )
        elif kind == "message":
            messages.append({"role": item["role"], "content": item["content"]})
    return messages
