"""`nanoeval validate`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
from nanoeval_computer.grading import HasSolution, check_solutions
from nanoeval_computer.task import ComputerTask
from nanoeval_core.recorder import dummy_recorder
from nanoeval_core.spec import EvalSpec

from nanoeval_cli._command import json_option, subcommand
from nanoeval_cli._commands.run_command import EvalCommand, eval_argument
from nanoeval_cli._commands.shell_command import find_task, machines_of
from nanoeval_cli._output import note, write, write_json
from nanoeval_cli._targets import find_eval_class, make_spec


@subcommand("validate", cls=EvalCommand)
@eval_argument("eval")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@json_option
def command(eval: str, tasks: Sequence[str], as_json: bool, fields: dict[str, str]) -> int:
    """Check computer tasks and their graders without a model.

    \b
      nanoeval validate my_eval.py:MyEval          all tasks
      nanoeval validate my_eval.py:MyEval TASK …   these

    In real machines, a task's own solution (its method play_solution) must score 1, and doing
    nothing must score 0. TASK is a task's question_id or its name. Arguments are those of nanoeval
    run; runner.concurrency is 8 here. Exits with 1 when a task fails.
    """
    given = {"runner.concurrency": "8", **fields}
    return asyncio.run(_validate(make_spec(find_eval_class(eval), given), tasks, as_json=as_json))


async def _validate(spec: EvalSpec, names: Sequence[str], *, as_json: bool) -> int:
    runtime, tasks = await machines_of(spec.eval)
    if names:
        tasks = list({id(one): one for one in (find_task(tasks, name) for name in names)}.values())
    found: dict[str, list[str]] = {}

    def show(task: ComputerTask, problems: Sequence[str]) -> None:
        found[task.name] = list(problems)
        if not as_json:
            write("\n".join(problems) or f"task {task.name!r}: ok")

    with dummy_recorder(log=False):
        at_once = spec.runner.concurrency or len(tasks)
        await check_solutions(tasks, runtime, concurrency=at_once, on_checked=show)
    unsolved = [task.name for task in tasks if not isinstance(task, HasSolution)]
    failed = sum(bool(problems) for problems in found.values())
    if as_json:
        write_json(
            [
                {"task": task.name, "has_solution": task.name not in unsolved}
                | {"problems": found[task.name]}
                for task in tasks
            ]
        )
    if unsolved:
        note(
            f"{len(unsolved)} of {len(tasks)} tasks have no play_solution: whether they can be "
            "solved was not checked"
        )
    note(f"{len(tasks) - failed} of {len(tasks)} tasks passed.")
    return 1 if failed else 0
