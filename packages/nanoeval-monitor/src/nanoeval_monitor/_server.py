"""The monitor's server: a page, the JSON it asks for, and a stream of server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from nanoeval_core.errors import ConfigError, NanoevalError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from nanoeval_monitor._access import Access, Guard
from nanoeval_monitor._catching_up import CatchUp
from nanoeval_monitor._comparison import MAX_RUNS, compare_runs
from nanoeval_monitor._live_feed import LiveFeed
from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._run_list import RunList
from nanoeval_monitor._run_summary import summary_of
from nanoeval_monitor._sample_query import SampleQuery, find_samples, transcript
from nanoeval_monitor._texts import plain

STATIC = Path(__file__).parent / "static"
MAX_BODY = 4096


@dataclasses.dataclass(slots=True)
class Monitor:
    """What the server shows. `feed` is None where only finished runs are shown."""

    runs: RunList
    feed: LiveFeed
    access: Access


def create_app(monitor: Monitor) -> ASGIApp:
    """The ASGI application. Its lifespan runs the live feed and closes the indices."""
    handlers = _Handlers(monitor)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with handlers.catch_up, asyncio.TaskGroup() as group:
            serving = group.create_task(monitor.feed.serve(), name="live feed")
            try:
                yield
            finally:
                serving.cancel()
                monitor.runs.close()

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", handlers.page),
            Route("/api/live", _guarded(handlers.live_list)),
            Route("/api/live/{run_set_id}/events", _guarded(handlers.live_events)),
            Route(
                "/api/live/{run_set_id}/concurrency",
                _guarded(handlers.set_concurrency),
                methods=["POST"],
            ),
            Route("/api/runs", _guarded(handlers.run_table)),
            Route("/api/runs/{key}", _guarded(handlers.run)),
            Route("/api/runs/{key}/samples", _guarded(handlers.samples)),
            Route("/api/runs/{key}/transcript", _guarded(handlers.transcript)),
            Route("/api/compare", _guarded(handlers.compare)),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
    )
    return Guard(app, monitor.access)


Handler = Callable[[Request], Awaitable[Response]]


def _guarded(handler: Handler) -> Handler:
    """Turn what was asked wrongly into an answer that says so."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except KeyError as error:
            return _json({"error": f"there is no {error.args[0]!r} here"}, status=404)
        except ConfigError as error:
            return _json({"error": str(error)}, status=400)
        except FileNotFoundError as error:
            return _json(
                {"error": f"{error.filename} is no longer there: it was moved or removed"},
                status=404,
            )
        except (NanoevalError, OSError, sqlite3.Error) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, status=500)

    return answer


class _Handlers:
    """One method per URL. Whatever reads files does so on a thread."""

    def __init__(self, monitor: Monitor) -> None:
        self._runs = monitor.runs
        self._feed = monitor.feed
        self.catch_up = CatchUp()

    async def page(self, request: Request) -> Response:
        return Response((STATIC / "index.html").read_bytes(), media_type="text/html")

    # --- live

    async def live_list(self, request: Request) -> Response:
        return _json(self._feed.views())

    async def live_events(self, request: Request) -> Response:
        run_set_id = request.path_params["run_set_id"]
        if self._feed.view(run_set_id) is None:
            raise KeyError(run_set_id)
        return StreamingResponse(self._stream(run_set_id), media_type="text/event-stream")

    async def _stream(self, run_set_id: str) -> AsyncIterator[bytes]:
        yield _event("histories", self._feed.histories(run_set_id))
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

    async def run_table(self, request: Request) -> Response:
        entries = await asyncio.to_thread(self._runs.entries)
        folders = [str(folder) for folder in self._runs.folders]
        return _json({"folders": folders, "runs": [entry.as_dict() for entry in entries]})

    async def run(self, request: Request) -> Response:
        key = request.path_params["key"]
        index = await self._index(key)
        await self.catch_up.look(index)
        return _json(await asyncio.to_thread(run_page, key, index))

    async def samples(self, request: Request) -> Response:
        query = SampleQuery.from_parameters(request.query_params)
        index = await self._index(request.path_params["key"])
        await self.catch_up.look(index)
        return _json(await asyncio.to_thread(find_samples, index, query))

    async def _index(self, key: str) -> RecordIndex:
        return await asyncio.to_thread(self._runs.index, key)

    async def transcript(self, request: Request) -> Response:
        index = await self._index(request.path_params["key"])
        sample_id = request.query_params.get("sample", "")
        whole = request.query_params.get("whole") == "1"
        return _json(await asyncio.to_thread(transcript, index, sample_id, whole=whole))

    async def compare(self, request: Request) -> Response:
        keys = [key for key in request.query_params.get("runs", "").split(",") if key]
        return _json(await asyncio.to_thread(self._compare, keys))

    def _compare(self, keys: list[str]) -> dict[str, Any]:
        indices = {key: self._runs.index(key) for key in keys[: MAX_RUNS + 1]}
        for index in indices.values():
            index.update_all()
        return compare_runs(indices)


def run_page(key: str, index: RecordIndex) -> dict[str, Any]:
    """What the page of a run gets."""
    return {
        "key": key,
        "path": str(index.record),
        "index": index.progress(),
        **summary_of(index),
    }


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
        # State files hold what evals gave: lone surrogates and huge numbers among it.
        return msgspec.json.encode(plain(value))
