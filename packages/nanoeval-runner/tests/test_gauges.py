"""What executors publish is shown while a run goes on."""

from __future__ import annotations

import json

from nanoeval_runner._display.view import EvalView
from nanoeval_runner._progress import gauges_of
from nanoeval_runner._queue.rows import ExecutorRow


def executor(number: int, state: str, **gauges: float) -> ExecutorRow:
    return ExecutorRow(
        id=number,
        name=f"pool-{number}",
        pool="pool",
        pid=number,
        host="here",
        state=state,
        started_at=0.0,
        heartbeat_at=0.0,
        in_flight=0,
        gauges=json.dumps(gauges),
        running="[]",
    )


def test_the_limit_in_force_is_shown() -> None:
    gauges = gauges_of(
        [
            executor(1, "running", api_concurrency_limit=96, aiomonitor_port=20101),
            executor(2, "running", api_concurrency_limit=80),
            executor(3, "dead", api_concurrency_limit=4096),
        ]
    )
    assert gauges == {"api_concurrency_limit": 96}
    view = EvalView(eval_name="e", total=10, limit=50)
    view.gauges = gauges
    assert "0 of 50 in flight, api concurrency limit 96" in view.line()
    view.state = "done"
    assert "api concurrency limit" not in view.line()
