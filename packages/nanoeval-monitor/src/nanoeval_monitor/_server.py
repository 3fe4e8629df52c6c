"""The monitor's server: a page, the JSON it asks for, and a stream of server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from nanoeval_core.errors import ConfigError, NanoevalError
from nanoeval_core.json_values import json_value, utf8
from nanoeval_runner.results import resume_command
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from nanoeval_monitor._access import Access, Guard
from nanoeval_monitor._background_indexing import BackgroundIndexing
from nanoeval_monitor._comparison import MAX_RUNS, compare_runs
from nanoeval_monitor._live_feed import LiveFeed
from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._run_list import RunEntry, RunList
from nanoeval_monitor._run_summary import NO_DETAILS, metrics_of, summary_of
from nanoeval_monitor._sample_query import field_values, find_samples, transcript
from nanoeval_monitor._search_words import full_text

STATIC = Path(__file__).parent / "static"
MAX_BODY = 4096
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Media types that are answered as they are: they hold nothing that a browser would run."""
REFUSED = (KeyError, NanoevalError, OSError, sqlite3.Error)


def create_app(runs: RunList, feed: LiveFeed, access: Access) -> ASGIApp:
    """Return the ASGI application. Its lifespan runs the live feed."""
    handlers = _Handlers(runs, feed)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(feed.serve(), name="live feed")
            try:
                yield
            finally:
                serving.cancel()

    live, run = "/api/live/{run_set_id}", "/api/runs/{key}"
    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", handlers.page),
            Route("/api/live", handlers.live_list),
            Route(f"{live}/events", handlers.live_events),
            Route(f"{live}/concurrency", handlers.set_concurrency, methods=["POST"]),
            Route("/api/runs", handlers.run_table),
            Route(run, handlers.run),
            Route(f"{run}/samples", handlers.samples),
            Route(f"{run}/transcript", handlers.transcript),
            Route(f"{run}/fields/{{name}}", handlers.field),
            Route(f"{run}/files/{{sha256}}", handlers.file),
            Route("/api/compare", handlers.compare),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers=dict.fromkeys(REFUSED, _refuse),
    )
    return Guard(app, access)


def _refuse(request: Request, error: Exception) -> Response:
    """Answer what was asked wrongly, and what cannot be read, with a sentence."""
    status, text = 500, f"{type(error).__name__}: {error}"
    if isinstance(error, KeyError):
        status, text = 404, f"there is no {error.args[0]!r} here"
    elif isinstance(error, FileNotFoundError):
        status, text = 404, f"{error.filename} is no longer there: it was moved or removed"
    elif isinstance(error, ConfigError):
        status, text = 400, str(error)
    return _json({"error": text}, status)


class _Handlers:
    """One method per URL. Those that are not async read files: each gets a thread."""

    def __init__(self, runs: RunList, feed: LiveFeed) -> None:
        self._runs = runs
        self._feed = feed
        self._indexing = BackgroundIndexing()

    def page(self, request: Request) -> Response:
        return Response((STATIC / "index.html").read_bytes(), media_type="text/html")

    # --- live

    async def live_list(self, request: Request) -> Response:
        return _json(self._feed.views())

    async def live_events(self, request: Request) -> Response:
        run_set_id = request.path_params["run_set_id"]
        histories = self._feed.run_set(run_set_id).histories()
        stream = self._stream(run_set_id, histories)
        return StreamingResponse(stream, media_type="text/event-stream")

    async def _stream(self, run_set_id: str, histories: Any) -> AsyncIterator[bytes]:
        yield _event("histories", histories)
        async for view in self._feed.follow(run_set_id):
            yield _event("view", view)

    async def set_concurrency(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > MAX_BODY:
            raise ConfigError("that is no limit: the request is too long")
        try:
            asked = msgspec.json.decode(body, type=_Limit)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"give eval_id and limit, each a number or null: {error}") from error
        run_set_id = request.path_params["run_set_id"]
        await asyncio.to_thread(self._feed.set_concurrency, run_set_id, asked.eval_id, asked.limit)
        return _json({"limit": asked.limit})

    # --- finished

    def run_table(self, request: Request) -> Response:
        entries = self._runs.entries()
        folders = [str(folder) for folder in self._runs.folders]
        return _json({"folders": folders, "runs": [entry.as_dict() for entry in entries]})

    async def run(self, request: Request) -> Response:
        entry = await asyncio.to_thread(self._runs.entry, request.path_params["key"])
        if entry.path is None:
            return _json(run_page(entry, None))
        index = await asyncio.to_thread(self._runs.index, entry.key)
        await self._indexing.look(index)
        return _json(await asyncio.to_thread(run_page, entry, index))

    async def samples(self, request: Request) -> Response:
        asked = request.query_params
        index = await asyncio.to_thread(self._runs.index, request.path_params["key"])
        await self._indexing.look(index)
        if full_text(asked.get("q", "")):
            await self._indexing.search(index)
        return _json(await asyncio.to_thread(find_samples, index, asked))

    def transcript(self, request: Request) -> Response:
        index = self._runs.index(request.path_params["key"])
        sample_id = request.query_params.get("sample", "")
        whole = request.query_params.get("whole") == "1"
        return _json(transcript(index, sample_id, whole=whole))

    def field(self, request: Request) -> Response:
        index = self._runs.index(request.path_params["key"])
        return _json({"values": field_values(index, request.path_params["name"])})

    def file(self, request: Request) -> Response:
        """Answer with an image or a text that a record keeps, never as what a browser would run."""
        kept = self._runs.index(request.path_params["key"]).file(request.path_params["sha256"])
        content, media_type = kept.content, kept.get("media_type")
        if media_type not in IMAGES:
            media_type = "text/plain; charset=utf-8"
        if isinstance(content, str):
            content = utf8(content)
        return Response(content, media_type=media_type)

    def compare(self, request: Request) -> Response:
        keys = [key for key in request.query_params.get("runs", "").split(",") if key]
        indices = {key: self._runs.index(key) for key in keys[: MAX_RUNS + 1]}
        for index in indices.values():
            index.update_all()
        runs = [(key, index, index.progress()["bytes_read"]) for key, index in indices.items()]
        return _json(_compare(*runs))


@functools.lru_cache(maxsize=16)
def _compare(*runs: tuple[str, RecordIndex, int]) -> dict[str, Any]:
    """Compare runs, once for as long as no more was read of their records."""
    return compare_runs({key: index for key, index, _ in runs})


def run_page(entry: RunEntry, index: RecordIndex | None) -> dict[str, Any]:
    """Return what the page of a run gets: all of it where there is a record."""
    resumable = entry.has_state and entry.state in ("stopped", "died", "failed")
    page: dict[str, Any] = {
        **entry.as_dict(),
        "resume": resume_command(entry.run_set_id) if resumable else "",
        "metrics": metrics_of(json_value(entry.summary)),
    }
    if index is None:
        report = json_value(entry.summary) or None
        return {**page, "index": None, "spec": {}, "final_report": report, **NO_DETAILS}
    return {**page, "index": index.progress(), **summary_of(index)}


class _Limit(msgspec.Struct, forbid_unknown_fields=True):
    """A change of the limit of one eval, or of all together when `eval_id` is null."""

    eval_id: int | None
    limit: int | None


def _json(value: Any, status: int = 200) -> Response:
    return Response(_encode(value), status_code=status, media_type="application/json")


def _event(name: str, value: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + _encode(value) + b"\n\n"


def _encode(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        # State files hold what evals gave: lone surrogates, and numbers that a page cannot hold.
        text = json.dumps(json_value(value))
        small = json.loads(
            text, parse_int=lambda digits: int(digits) if len(digits) < 16 else digits
        )
        return msgspec.json.encode(small)
