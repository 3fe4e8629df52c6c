"""`python -m nanoeval.bin.resume run_set_id=…`: finish what was stopped."""

from __future__ import annotations

import sys

from nanoeval_core.errors import ConfigError
from nanoeval_runner import resume
from nanoeval_runner.state_files import state_paths
from nanoeval_runner.summary_text import summary_text


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
        raise ConfigError(f"resume which one? Newest first:{newest or ' there is none'}")
    summaries = await resume(
        run_set_id,
        resume_completed_evals=resume_completed_evals,
        budget_tokens=budget_tokens,
        budget_cost=budget_cost,
    )
    for summary in summaries:
        sys.stdout.write(summary_text(summary) + "\n")
