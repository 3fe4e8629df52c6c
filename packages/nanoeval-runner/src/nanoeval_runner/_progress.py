"""What a run shows of itself while it goes on: its line in the display, and partial summaries."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import overrides
from nanoeval_core.json_values import json_text
from nanoeval_core.library_config import get_library_config

from nanoeval_runner._display.board import Board
from nanoeval_runner._display.view import EvalView
from nanoeval_runner._eval_run import EvalRun
from nanoeval_runner._inspection import PORT_GAUGE
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import ExecutorRow
from nanoeval_runner._run_set import RunSet, run_sets
from nanoeval_runner.results import Result

log = logging.getLogger("nanoeval.runner")

UPDATE_SECONDS = 1.0
UPDATE_COST_FACTOR = 50
"""`Eval.update_progress` is left alone for this many times what its last call took: 2 % of time."""

SLOW_CONTEXT_SECONDS = 2.0
LONGEST_SHOWN = 3
OVER = ("done", "stopped", "failed")


class Progress:
    """Shows one run on the display of its event loop, together with the others there."""

    def __init__(self, run: EvalRun, run_set: RunSet) -> None:
        self.result: Result | None = None
        self._run = run
        self._run_set = run_set
        self._state = "running"
        self._view = EvalView(eval_name=run.name, model=run.model, errors=run.lost)
        self._bar = bar = None
        runner = run.spec.runner
        if runner.enable_slackbot:
            bar = get_library_config().get_slack_tqdm(username=runner.slack_name)
        if bar is not None:
            name = runner.model_name or "nanoeval"
            self._bar = bar(
                total=run.total,
                desc=f"{run.name[-16:]} (r_id={run.run_id}, m={name[-16:]})",
                dynamic_ncols=True,
            )
            self._bar.__enter__()
        self._has_update = overrides(run.spec.eval, "update_progress")
        self._is_updated = self._has_update or self._bar is not None
        self._owner = owner = run_sets()
        self._board = owner.board = owner.board or Board()
        self._board.runs.append(self)
        self._board.active += 1

    async def serve(self) -> None:
        """Keep the display up to date until cancelled.

        Raises:
            Exception: what `Eval.update_progress` raised: it ends the run.
        """
        wanted = self._run.spec.runner.summary_interval
        interval = math.inf if wanted is None else wanted or UPDATE_SECONDS
        next_summary = time.monotonic() + interval
        next_update = time.monotonic() + UPDATE_SECONDS if self._is_updated else math.inf
        while True:
            due = min(next_summary, next_update, self._board.next_tick)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # Either may take long with many results; the run must not spend its time on that.
            if (now := time.monotonic()) >= next_update:
                await self._update_bar()
                spent = UPDATE_COST_FACTOR * (time.monotonic() - now)
                next_update = time.monotonic() + max(UPDATE_SECONDS, spent)
            if (now := time.monotonic()) >= next_summary:
                if not await self._sum_up():
                    interval = math.inf
                spent = UPDATE_COST_FACTOR * (time.monotonic() - now)
                next_summary = time.monotonic() + max(interval, spent)
            self._board.tick()

    # --- what the board asks for

    def shown(self) -> EvalView:
        """Return what to show, brought up to date from what this process has been told."""
        view, run = self._view, self._run
        if view.state in OVER:
            return view
        view.state = self._state
        view.done, view.total = len(run.results), run.total
        view.elapsed = run.elapsed if self.result is None else self.result.seconds
        view.in_flight, view.limit, view.retries = run.in_flight, run.limit, run.retries
        view.tokens, view.cost = run.usage.total_tokens, run.usage.cost
        if self._board.surface.is_due or view.standstill():
            run.tally.catch_up(run.results)
            view.score = run.tally.summary()
        executors = self._run_set.executors
        view.gauges = gauges_of(executors.reports)
        view.longest, view.doing = [], ""
        local = executors.local
        if local is not None:
            view.gauges |= local.run_context.gauges
            view.longest += [(a.name, a.seconds) for a in local.slowest(LONGEST_SHOWN)]
            view.doing = "; ".join(local.moving_contexts(SLOW_CONTEXT_SECONDS))
        for executor in executors.reports:
            if executor.state == "running":
                running = json.loads(executor.running)
                view.longest += [(each["task"], each["seconds"]) for each in running]
        view.gauges.pop(PORT_GAUGE, None)
        view.longest.sort(key=lambda each: -each[1])
        view.mark()
        return view

    def set_postfix(
        self, ordered_dict: dict[str, Any] | None = None, refresh: bool = True, **kwargs: Any
    ) -> None:
        """Show these with the run's progress, instead of those before: tqdm's method."""
        self._view.postfix = {
            name: f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in {**(ordered_dict or {}), **kwargs}.items()
        }
        if self._bar is not None:
            self._bar.set_postfix(ordered_dict, refresh, **kwargs)

    async def _update_bar(self) -> None:
        run = self._run
        if self._bar is not None:
            self._bar.total = run.total + run.retries
            self._bar.update(len(run.results) + run.retries - self._bar.n)
        if self._has_update:
            clean = [(t, r) for t, r in run.results if not isinstance(r, RolloutSystemError)]
            await run.spec.eval.update_progress(clean, self)

    async def last_update(self) -> None:
        """Show what the eval makes of all its results: also short runs get to show something."""
        if self._is_updated:
            await self._update_bar()
        self._state = "summing up"
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
                summary = await run.sum_up()
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
        await run.record.report(summary)
        log.info("partial summary of eval %r: %s", run.name, text)
        plain = {k: v for k, v in summary.items() if isinstance(v, (bool, int, float, str))}
        texts = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items()]
        self._board.surface.say(f"{self.shown().line()}\n    {', '.join(texts)}")
        return True

    # --- the end

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Take the summary: the table at the end shows it."""
        run = self._run
        self._state = "stopped" if summary.get("partial") else "done"
        url = run.record.recorder.evalboard_url("run")
        self.result = Result(
            eval=run.name,
            model=run.model or "",
            run_id=run.run_id,
            state=self._state,
            done=len(run.results),
            total=run.total,
            seconds=run.elapsed,
            tokens=run.usage.prompt_tokens + run.usage.completion_tokens,
            cost=run.usage.cost,
            retries=run.retries,
            errors=dict(run.lost),
            summary=dict(summary),
            record=url.removeprefix("file://") if url else None,
        )

    def close(self) -> None:
        """Take the run off the display, whether it finished or not; with the last, show results."""
        if self._state not in OVER:
            self._state = "failed" if self._run.errors else "stopped"
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._board.active -= 1
        if not self._board.active:
            self._owner.board = None
            self._board.finish()


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
