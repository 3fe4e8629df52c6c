"""`python -m nanoeval.bin.resume run_set_id=…`: finish what was stopped."""

from __future__ import annotations

import sys
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.json_values import json_text
from nanoeval_runner import resume as finish
from nanoeval_runner.state_files import may_be_resumed, state_paths


async def resume(run_set_id: str, resume_completed_evals: bool = False) -> list[dict[str, Any]]:
    """Finish the evals of a run set together, and return their summaries, without `run_id`.

    An unknown run set has none.

    Args:
        run_set_id: names the state file, or its backup.
        resume_completed_evals: also sum up those that are complete.
    """
    if not may_be_resumed(run_set_id):
        return []
    summaries = await finish(run_set_id, resume_completed_evals=resume_completed_evals)
    for summary in summaries:
        summary.pop("run_id", None)
    return summaries


async def main(
    run_set_id: str | None = None,
    resume_completed_evals: bool = False,
    budget_tokens: int | None = None,
    budget_cost: float | None = None,
) -> None:
    """Finish every eval of a run set. Without a run_set_id, says which there are.

    A budget replaces the one that the evals were run with.
    """
    if run_set_id is None:
        newest = "".join(f"\n  run_set_id={path.stem}" for path in state_paths()[:10])
        raise ConfigError(
            f"specify run_set_id. Newest first:{newest}"
            if newest
            else "specify run_set_id. No run sets found"
        )
    summaries = await finish(
        run_set_id,
        resume_completed_evals=resume_completed_evals,
        budget_tokens=budget_tokens,
        budget_cost=budget_cost,
    )
    for summary in summaries:
        sys.stdout.write(json_text(summary) + "\n")


__all__ = ["main", "resume"]
