"""`nanoeval shell`."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from nanoeval_computer.maintenance import play_task, runtime_of
from nanoeval_computer.task import ComputerTask
from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval
from nanoeval_core.recorder import dummy_recorder

from nanoeval_cli._command import subcommand
from nanoeval_cli._commands.run_command import EvalCommand, eval_argument, own_fields
from nanoeval_cli._output import write
from nanoeval_cli._targets import find_eval_class, make_spec

TASKS_LISTED = 10


@subcommand("shell", cls=EvalCommand, takes_fields=True, own_fields=own_fields)
@eval_argument("eval")
@click.argument("task", required=False)
def command(eval: str, task: str | None, fields: dict[str, str]) -> int:
    """Work on a computer task yourself, in its machine, and have it graded.

    \b
      nanoeval shell my_eval.py:MyEval             lists the tasks
      nanoeval shell my_eval.py:MyEval TASK        opens a shell in the machine of one

    TASK is a task's question_id or its name. Arguments are those of nanoeval run.
    """
    return asyncio.run(_play(make_spec(find_eval_class(eval), fields).eval, task))


async def _play(eval: Eval[Any, Any], name: str | None) -> int:
    runtime = runtime_of(getattr(eval, "solver", eval))
    tasks = {one.name: one for one in await eval.get_tasks() if isinstance(one, ComputerTask)}
    found = [one for one in tasks.values() if name in (one.name, one.question_id)]
    if not found:
        shown = "".join(f"\n  {one}" for one in list(tasks)[:TASKS_LISTED])
        more = f"\n  and {len(tasks) - TASKS_LISTED} more" * (len(tasks) > TASKS_LISTED)
        what = "which task?" if name is None else f"there is no task {name!r}."
        raise ConfigError(f"{what} There are:{shown}{more}")
    with dummy_recorder():
        result = await play_task(found[0], runtime)
    write(f"score {result.grade.score:g}")
    if result.grade.grader_log:
        write(result.grade.grader_log)
    return 0
