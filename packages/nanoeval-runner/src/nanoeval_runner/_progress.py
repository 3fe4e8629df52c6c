"""A run's part in the display: what it shows of itself, and its partial summaries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import overrides

from nanoeval_runner._display.board import boards
from nanoeval_runner._display.surfaces import choose_surface
from nanoeval_runner._display.tally import Tally, error_words
from nanoeval_runner._display.view import View
from nanoeval_runner._inspection import PORT_GAUGE
from nanoeval_runner._queue import transactions
from nanoeval_runner.arguments import describe_arguments, model_in
from nanoeval_runner.summary_text import summary_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanoeval_core.recording import TransactionalRecorder

    from nanoeval_runner._engine import Engine
    from nanoeval_runner._eval_run import EvalRun

log = logging.getLogger("nanoeval.runner")

UPDATE_COST_FACTOR = 50
"""`Eval.update_progress` is left alone for this many times what its last call took: 2 % of time."""

LAST_UPDATE_SECONDS = 1.0

SLOW_LISTING_SECONDS = 2.0


@contextlib.contextmanager
def announced_if_slow(eval_name: str) -> Iterator[None]:
    """Say that tasks are being listed, if the block takes so long that one might wonder."""
    text = f"eval {eval_name!r}: listing its tasks"
    loop = asyncio.get_running_loop()
    saying = loop.call_later(SLOW_LISTING_SECONDS, lambda: choose_surface().say(text))
    try:
        yield
    finally:
        saying.cancel()


class Progress:
    """Shows one run on the display of its event loop, together with those beside it."""

    def __init__(self, run: EvalRun, engine: Engine, recorder: TransactionalRecorder) -> None:
        self.run = run
        self.engine = engine
        self.view = View(
            eval_name=run.name,
            model=run.spec.runner.model_name or model_in(describe_arguments(run.spec.eval)),
            limit=run.spec.runner.concurrency,
            total=run.total,
        )
        self.view.mark(time.monotonic())
        self._recorder = recorder
        self._tally = Tally(run.spec.eval)
        self._postfix = _Postfix(self.view)
        self._has_update = overrides(run.spec.eval, "update_progress")
        self._next_update = 0.0
        self._board = boards.join(self)
        self._closed = False

    async def serve(self) -> None:
        """Keep the display up to date until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                if self.run.spec.runner.summary_interval is not None:
                    group.create_task(self._sum_up_now_and_then())
                while True:
                    await asyncio.sleep(self._board.seconds_to_next())
                    await self._read_state()
                    await self._update_postfix()
                    self._board.tick()
        except asyncio.CancelledError:
            await self._last_update()
            raise

    # --- what the board asks for

    def update(self) -> None:
        """Bring `view` up to date."""
        view, run = self.view, self.run
        view.done, view.total, view.elapsed = len(run.results), run.total, run.elapsed
        self._tally.catch_up(run.results)
        view.errors = self._tally.errors
        view.score = self._tally.summary()
        view.mark(time.monotonic())

    async def _read_state(self) -> None:
        row = await self.engine.store.call(transactions.get_eval, self.run.eval_id)
        executors = await self.engine.store.call(transactions.list_executors)
        view, usage = self.view, row.usage
        view.gauges, view.longest = {}, []
        for executor in executors:
            if executor.state == "running":
                view.gauges |= json.loads(executor.gauges)
                view.longest += [
                    (one["task"], one["seconds"]) for one in json.loads(executor.running)
                ]
        view.gauges.pop(PORT_GAUGE, None)
        view.longest.sort(key=lambda one: -one[1])
        view.in_flight, view.limit = row.leased, row.concurrency
        view.retries, view.tokens, view.cost = row.retries, usage.total_tokens, usage.cost

    async def _update_postfix(self) -> None:
        if not self._has_update or not self.run.results or time.monotonic() < self._next_update:
            return
        started = time.monotonic()
        try:
            await self.run.spec.eval.update_progress(list(self.run.results), self._postfix)
        except Exception:
            self._has_update = False
            log.exception(
                "eval %r: update_progress failed and is not called again; the run goes on",
                self.run.name,
            )
        now = time.monotonic()
        self._next_update = now + max(1.0, UPDATE_COST_FACTOR * (now - started))

    async def _last_update(self) -> None:
        """What the eval shows of all its results: also short runs get to show something."""
        if not self.run.errors:
            self._next_update = 0.0
            try:
                async with asyncio.timeout(LAST_UPDATE_SECONDS):
                    await self._update_postfix()
            except TimeoutError:
                log.warning("eval %r: update_progress takes too long", self.run.name)
            self.view.state = "summing up"
            self.update()
            self._board.show_last()

    # --- partial summaries

    async def _sum_up_now_and_then(self) -> None:
        interval = self.run.spec.runner.summary_interval
        assert interval is not None  # noqa: S101  serve() looked
        while True:
            await asyncio.sleep(interval)
            started = time.monotonic()
            summary = await self._partial_summary()
            if summary is None:
                return
            text = summary_text(summary)
            await self.engine.store.call(transactions.set_partial_summary, self.run.eval_id, text)
            log.info("partial summary of eval %r: %s", self.run.name, text)
            self._board.surface.say(f"{self.view.line()}\n    {_in_short(summary)}")
            # Summing up many results takes long; the run must not spend its time on that.
            spent = time.monotonic() - started
            interval = max(interval, UPDATE_COST_FACTOR * spent)

    async def _partial_summary(self) -> dict[str, Any] | None:
        """The summary of the results so far; None once that has failed."""
        run = self.run
        self.view.done = len(run.results)
        try:
            if self._tally.running is not None:
                self._tally.catch_up(run.results, all_of_them=True)
                summary = self._tally.running.summary()
            else:
                summary = await run.spec.eval.get_full_summary(list(run.results))
        except Exception:
            log.exception(
                "eval %r: no more partial summaries, as get_full_summary failed on %d results",
                run.name,
                len(run.results),
            )
            return None
        return {**summary, "partial": True}

    # --- the end

    def with_interval(self, summary: dict[str, Any]) -> dict[str, Any]:
        """`summary` with what belongs beside its accuracy, where the eval leaves that out."""
        if "accuracy" not in summary or "accuracy_stderr" in summary:
            return summary
        self._tally.catch_up(self.run.results, all_of_them=True)
        found = self._tally.beside(summary)
        more = {name: value for name, value in found.items() if name not in summary}
        parts = ({k: v, **(more if k == "accuracy" else {})} for k, v in summary.items())
        return {name: value for part in parts for name, value in part.items()}

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run has this summary; the table at the end will show it."""
        view, run = self.view, self.run
        view.done, view.total, view.elapsed = len(run.results), run.total, run.elapsed
        view.state = "stopped" if summary.get("partial") else "done"
        view.retries = max(view.retries, run.retries)
        view.summary = dict(summary)
        view.errors.clear()
        if run.system_errors:
            for _, result in run.results:
                if isinstance(result, RolloutSystemError):
                    view.errors[error_words(result, view.errors)] += 1
        usage = summary.get("usage")
        if isinstance(usage, dict):
            view.tokens = usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
            view.cost = usage.get("cost", 0.0)
        url = self._recorder.evalboard_url("run")
        view.record = url.removeprefix("file://") if url else None

    def close(self) -> None:
        """Take the run off the display, whether it finished or not."""
        if self._closed:
            return
        self._closed = True
        if self.view.state in ("running", "summing up"):
            self.view.state = "failed" if self.run.errors else "stopped"
        boards.leave(self._board)


def _in_short(summary: Mapping[str, Any]) -> str:
    """The plain values of a summary, in one line; all of it is in the state file and the log."""
    plain = {k: v for k, v in summary.items() if isinstance(v, (bool, int, float, str))}
    texts = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())
    return ", ".join(texts)


class _Postfix:
    """The part of tqdm's progress bar that `Eval.update_progress` is given."""

    def __init__(self, view: View) -> None:
        self._view = view

    def set_postfix(
        self, ordered_dict: dict[str, Any] | None = None, refresh: bool = True, **kwargs: Any
    ) -> None:
        """Show these beside the run's progress, instead of those before."""
        self._view.postfix = {
            name: f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in {**(ordered_dict or {}), **kwargs}.items()
        }
