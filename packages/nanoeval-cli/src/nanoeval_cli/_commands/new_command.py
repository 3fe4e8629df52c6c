"""`nanoeval new`."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import click
from nanoeval_core.errors import ConfigError

from nanoeval_cli._command import subcommand
from nanoeval_cli._output import write

EVAL = '''\
"""{title}: what it measures. solver=OpenAIAPIMCQSolver solver.model=… asks a real model."""

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MCQEval, MCQSolver, MockSolver, Question


@chz.chz
class {cls}(MCQEval):
    solver: MCQSolver = chz.field(
        meta_factory=chz.factories.subclass(MCQSolver, default_cls=MockSolver)
    )

    def get_name(self) -> str:
        return "{name}"

    async def get_questions(self) -> list[Question]:
        return [
            Question(id="2 + 2", question="2 + 2 = ?", choices=("3", "4"), correct_indices={{1}}),
            Question(id="3 * 3", question="3 * 3 = ?", choices=("6", "9"), correct_indices={{1}}),
        ]


async def main(eval: {cls}, runner: RunnerArgs) -> None:
    await run(EvalSpec(eval=eval, runner=runner))


if __name__ == "__main__":
    nanoeval_entrypoint(main)
'''
TEST = '''\
"""{title}, checked without a model."""

import asyncio

from nanoeval import EvalSpec, RunnerArgs, validate
from nanoeval.solvers.mcq import MockSolver

from {name} import {cls}


def test_the_eval_is_sound():
    asyncio.run({cls}(solver=MockSolver()).self_test())


def test_a_perfect_solver_scores_1():
    spec = EvalSpec(eval={cls}(solver=MockSolver(accuracy=1.0)), runner=RunnerArgs())
    assert asyncio.run(validate(spec))["accuracy"] == 1.0
'''


@subcommand("new")
@click.argument("name")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def command(name: str, force: bool) -> int:
    """Write a small eval that runs as it is, and its test."""
    path = Path(name)
    name = path.stem
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or keyword.iskeyword(name):
        better = re.sub(r"\W+", "_", name).strip("_").lower()
        better = (
            better if re.match("[a-z]", better) and not keyword.iskeyword(better) else "my_eval"
        )
        raise ConfigError(f"{name!r} is no name for a module: try `nanoeval new {better}`")
    title = name.replace("_", " ").strip().capitalize()
    cls = "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "MyEval"
    files = {
        path.with_name(f"{name}.py"): EVAL,
        path.with_name(f"test_{name}.py"): TEST,
    }
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        verb = "are" if len(there) > 1 else "is"
        raise ConfigError(f"{' and '.join(there)} {verb} already there: --force overwrites")
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(title=title, cls=cls, name=name), "utf-8")
    module = path.with_name(f"{name}.py")
    write(f"Wrote {' and '.join(str(file) for file in files)}. Next:")
    write(f"  nanoeval run {module}:{cls}")
    write(f"  pytest {path.with_name(f'test_{name}.py')}")
    write(f"  nanoeval run {module}:{cls} --help")
    return 0
