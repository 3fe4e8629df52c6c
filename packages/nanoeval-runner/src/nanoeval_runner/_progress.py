"""What a run shows of itself while it goes on: its line in the display, and partial summaries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import anyio.to_thread
from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import overrides
from nanoeval_core.json_values import json_text
from nanoeval_core.library_config import get_library_config
from nanoeval_core.recording import TransactionalRecorder

from nanoeval_runner._display.board import boards
from nanoeval_runner._display.surfaces import choose_surface
from nanoeval_runner._display.view import View
from nanoeval_runner._eval_run import EvalRun, text_order
from nanoeval_runner._inspection import PORT_GAUGE
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import ExecutorRow
from nanoeval_runner._run_set import RunSet
from nanoeval_runner.arguments import describe_arguments, model_in

log = logging.getLogger("nanoeval.runner")

UPDATE_SECONDS = 1.0
UPDATE_COST_FACTOR = 50
"""`Eval.update_progress` is left alone for this many times what its last call took: 2 % of time."""

SLOW_LISTING_SECONDS = 2.0
SLOW_CONTEXT_SECONDS = 2.0
LONGEST_SHOWN = 3


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
    """Shows one run on the display of its event loop, together with the others there."""

    def __init__(
        self, run: EvalRun, run_set: RunSet, recorder: TransactionalRecorder, run_id: str
    ) -> None:
        runner = run.spec.runner
        self.view = View(
            eval_name=run.name,
            model=runner.model_name or model_in(describe_arguments(run.spec.eval)),
            limit=runner.concurrency,
            total=run.total,
        )
        self.view.mark(time.monotonic())
        self._run = run
        self._run_set = run_set
        self._recorder = recorder
        self._bar = None
        bar = (
            get_library_config().get_slack_tqdm(username=runner.slack_name)
            if (runner.enable_slackbot)
            else None
        )
        if bar is not None:
            model = runner.model_name or "nanoeval"
            self._bar = bar(
                total=run.total,
                desc=f"{run.name[-16:]} (r_id={run_id}, m={model[-16:]})",
                dynamic_ncols=True,
            )
            self._bar.__enter__()
        self._postfix = _Postfix(self.view, self._bar)
        self._has_update = overrides(run.spec.eval, "update_progress")
        self._board = boards.join(self)

    async def serve(self) -> None:
        """Keep the display up to date until cancelled.

        Raises:
            Exception: what `Eval.update_progress` raised: it ends the run.
        """
        next_update = time.monotonic() + UPDATE_SECONDS
        wanted = self._run.spec.runner.summary_interval
        interval = float("inf") if wanted is None else wanted or UPDATE_SECONDS
        next_summary = interval
        started = time.monotonic()
        while True:
            now = time.monotonic()
            due = [started + next_summary, now + self._board.seconds_to_next()]
            if self._has_update or self._bar is not None:
                due.append(next_update)
            await asyncio.sleep(max(0.0, min(due) - now))
            now = time.monotonic()
            if now >= next_update and (self._has_update or self._bar is not None):
                await self._update_bar()
                next_update = time.monotonic() + max(
                    UPDATE_SECONDS, UPDATE_COST_FACTOR * (time.monotonic() - now)
                )
            if now >= started + next_summary:
                spent = time.monotonic()
                if not await self._sum_up():
                    interval = float("inf")
                # Summing up many results takes long; the run must not spend its time on that.
                spent = time.monotonic() - spent
                next_summary = (
                    time.monotonic() - started + max(interval, UPDATE_COST_FACTOR * spent)
                )
            self._board.tick()

    # --- what the board asks for

    def update(self) -> None:
        """Bring `view` up to date, from what this process has been told."""
        view, run = self.view, self._run
        view.done, view.total, view.elapsed = len(run.results), run.total, run.elapsed
        view.in_flight, view.limit, view.retries = run.in_flight, run.limit, run.retries
        view.tokens, view.cost = run.usage.total_tokens, run.usage.cost
        run.tally.catch_up(run.results)
        view.errors = run.tally.errors
        view.score = run.tally.summary()
        view.gauges = gauges_of(self._run_set.executors)
        view.longest, view.doing = [], ""
        local = self._run_set.local
        if local is not None:
            view.gauges |= local.run_context.gauges
            view.longest += [(a.name, a.seconds) for a in local.slowest(LONGEST_SHOWN)]
            view.doing = "; ".join(local.moving_contexts(SLOW_CONTEXT_SECONDS))
        for executor in self._run_set.executors:
            if executor.state == "running":
                running = json.loads(executor.running)
                view.longest += [(each["task"], each["seconds"]) for each in running]
        view.gauges.pop(PORT_GAUGE, None)
        view.longest.sort(key=lambda each: -each[1])
        view.mark(time.monotonic())

    async def _update_bar(self) -> None:
        run = self._run
        if self._bar is not None:
            self._bar.total = run.total + run.retries
            self._bar.update(len(run.results) + run.retries - self._bar.n)
        if self._has_update:
            clean = [(t, r) for t, r in run.results if not isinstance(r, RolloutSystemError)]
            await run.spec.eval.update_progress(clean, self._postfix)

    async def last_update(self) -> None:
        """Show what the eval makes of all its results: also short runs get to show something."""
        if self._has_update or self._bar is not None:
            await self._update_bar()
        self.view.state = "summing up"
        self._board.show_last()

    # --- partial summaries

    async def _sum_up(self) -> bool:
        """Sum up the results so far; return whether that can be done again."""
        run = self._run
        try:
            if run.tally.running is not None:
                run.tally.catch_up(run.results, all_of_them=True)
                summary = run.tally.running.summary()
            else:
                summary = await run.spec.eval.get_full_summary(sorted(run.results, key=text_order))
        except Exception:
            log.exception(
                "eval %r: no more partial summaries, as get_full_summary failed on %d results",
                run.name,
                len(run.results),
            )
            return False
        summary = {**summary, "partial": True}
        text = json_text(summary)
        await self._run_set.store.call(transactions.set_partial_summary, run.eval_id, text)
        with self._run_set.outbox.records[run.eval_id].guarded():
            await anyio.to_thread.run_sync(self._recorder.record_final_report, summary)
        log.info("partial summary of eval %r: %s", run.name, text)
        self.update()
        self._board.surface.say(f"{self.view.line()}\n    {_in_short(summary)}")
        return True

    # --- the end

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Take the summary: the table at the end shows it."""
        view, run = self.view, self._run
        view.done, view.total, view.elapsed = len(run.results), run.total, run.elapsed
        view.state = "stopped" if summary.get("partial") else "done"
        view.retries = run.retries
        view.summary = dict(summary)
        run.tally.count_errors(run.results)
        view.errors = run.tally.errors
        view.tokens = run.usage.prompt_tokens + run.usage.completion_tokens
        view.cost = run.usage.cost
        url = self._recorder.evalboard_url("run")
        view.record = url.removeprefix("file://") if url else None

    def close(self) -> None:
        """Take the run off the display, whether it finished or not."""
        if self.view.state in ("running", "summing up"):
            self.view.state = "failed" if self._run.errors else "stopped"
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        boards.leave(self._board)


def gauges_of(executors: Sequence[ExecutorRow]) -> dict[str, Any]:
    """Return what running executors publish, such as a rate limit in force; the largest of each."""
    gauges: dict[str, Any] = {}
    for row in executors:
        if row.state == "running":
            for name, value in json.loads(row.gauges).items():
                if isinstance(value, str) or not isinstance(gauges.get(name, 0), (int, float)):
                    gauges[name] = value
                else:
                    gauges[name] = max(value, gauges.get(name, value))
    gauges.pop(PORT_GAUGE, None)
    return gauges


def _in_short(summary: Mapping[str, Any]) -> str:
    """Return the plain values of a summary, in one line; all of it is in the state file."""
    plain = {k: v for k, v in summary.items() if isinstance(v, (bool, int, float, str))}
    texts = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())
    return ", ".join(texts)


class _Postfix:
    """The part of tqdm's progress bar that `Eval.update_progress` is given."""

    def __init__(self, view: View, bar: Any) -> None:
        self._view = view
        self._bar = bar

    def set_postfix(
        self, ordered_dict: dict[str, Any] | None = None, refresh: bool = True, **kwargs: Any
    ) -> None:
        """Show these with the run's progress, instead of those before."""
        self._view.postfix = {
            name: f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in {**(ordered_dict or {}), **kwargs}.items()
        }
        if self._bar is not None:
            self._bar.set_postfix(ordered_dict, refresh, **kwargs)
