"""`nanoeval shell`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import click
from nanoeval_computer.code_execution_interface import ComputerRuntime
from nanoeval_computer.maintenance import play_task, runtime_of
from nanoeval_computer.task import ComputerTask
from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval
from nanoeval_core.recorder import dummy_recorder

from nanoeval_cli._command import subcommand
from nanoeval_cli._commands.run_command import EvalCommand, eval_argument
from nanoeval_cli._output import write
from nanoeval_cli._targets import find_eval_class, make_spec

TASKS_LISTED = 10


@subcommand("shell", cls=EvalCommand)
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
    runtime, tasks = await machines_of(eval)
    if name is None:
        raise ConfigError(f"which task?{listed(tasks)}")
    with dummy_recorder(log=False):
        result = await play_task(find_task(tasks, name), runtime)
    write(f"score {result.grade.score:g}")
    if result.grade.grader_log:
        write(result.grade.grader_log)
    return 0


async def machines_of(eval: Eval[Any, Any]) -> tuple[ComputerRuntime, list[ComputerTask]]:
    """Return what starts the machines of an eval, and its tasks, each once.

    Raises:
        ConfigError: it has no computer tasks, or no runtime.
    """
    runtime = runtime_of(getattr(eval, "solver", eval))
    tasks: dict[str, ComputerTask] = {}
    for one in await eval.get_tasks():
        if isinstance(one, ComputerTask):
            tasks.setdefault(one.question_id, one)
    if not tasks:
        raise ConfigError(f"{eval.get_name()} has no computer tasks")
    return runtime, list(tasks.values())


def find_task(tasks: Sequence[ComputerTask], name: str) -> ComputerTask:
    """Return the task that has this name or question id.

    Raises:
        ConfigError: no task does; the message lists those that there are.
    """
    for one in tasks:
        if name in (one.name, one.question_id):
            return one
    raise ConfigError(f"there is no task {name!r}.{listed(tasks)}")


def listed(tasks: Sequence[ComputerTask]) -> str:
    shown = "".join(f"\n  {one.question_id}" for one in tasks[:TASKS_LISTED])
    more = f"\n  and {len(tasks) - TASKS_LISTED} more" * (len(tasks) > TASKS_LISTED)
    return f" There are:{shown}{more}"
