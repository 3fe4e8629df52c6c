"""What the command line answers: values, help, and mistakes with what was probably meant."""

from __future__ import annotations

import json
import re
from typing import Any

import chz
import pytest
from nanoeval_core.errors import ConfigError
from nanoeval_core.spec import RunnerArgs
from nanoeval_runner.command_line import DEBUG_VARIABLE, from_command_line
from nanoeval_runner.stored_eval import model_in


@chz.chz
class Solver:
    model: str = chz.field(doc="The model's name.")


@chz.chz
class FastSolver(Solver):
    pass


@chz.chz
class Measure:
    solver: Solver = chz.field(doc="Answers the questions.")
    seed: int = chz.field(default=7, doc="Decides the order.")


def main(eval: Measure, runner: RunnerArgs) -> tuple[Measure, RunnerArgs]:
    return eval, runner


def parse(*argv: str) -> tuple[Measure, RunnerArgs]:
    return from_command_line(main, argv)


def test_arguments_reach_the_function() -> None:
    measure, runner = parse("eval.solver.model=m", "runner.concurrency=3", "--eval.seed=1")
    assert measure == Measure(solver=Solver(model="m"), seed=1)
    assert runner.concurrency == 3


def test_values_may_hold_equals_signs_and_classes_may_be_named() -> None:
    measure, _ = parse("eval.solver=FastSolver", "eval.solver.model=a=b")
    assert measure.solver == FastSolver(model="a=b")


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (["eval.solver.modl=m"], "there is no argument 'eval.solver.modl'\nDid you mean "),
        (["model=m"], "maybe you meant 'eval.solver.model'?"),
        (["runner.n_task=3", "eval.solver.model=m"], "Did you mean 'runner.n_tasks'?"),
        (["eval.solver.model", "m"], "argument 'eval.solver.model': write it as name=value"),
        (["eval.solver=Fastsolver"], "Did you mean 'FastSolver'?"),
        (["eval.solver=Nobody"], "There are FastSolver; or name one as module:Class"),
        (["eval.solver.model=m", "eval.seed=x"], "eval.seed='x': give a whole number"),
        (["eval.solver.model=m", "runner.concurrency=0"], "RunnerArgs.concurrency=0: give a pos"),
        (["eval.solver.model=m", "runner.recorder=nope"], "no recorder is called 'nope'"),
        ([], "eval.solver.model"),
    ],
)
def test_mistakes_are_answered(argv: list[str], answer: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(answer)):
        parse(*argv)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_argument_with_type_default_and_doc(
    flag: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    with pytest.raises(SystemExit) as exited:
        parse(flag)
    assert exited.value.code == 0
    shown = capsys.readouterr().out
    assert "  eval.seed  int, default 7\n      Decides the order.\n" in shown
    assert "  eval.solver.model  str, required\n" in shown
    assert "  eval.solver  Solver\n" in shown
    assert all(f"  runner.{name}  " in shown for name in chz.chz_fields(RunnerArgs))
    assert max(map(len, shown.splitlines())) <= 80


def test_every_argument_of_the_runner_is_documented() -> None:
    undocumented = [name for name, field in chz.chz_fields(RunnerArgs).items() if not field._doc]
    assert not undocumented


def test_debug_is_taken_out_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, Any] = {}
    monkeypatch.setattr("os.environ", environment)
    parse("--debug", "eval.solver.model=m")
    assert environment == {DEBUG_VARIABLE: "1"}


@pytest.mark.parametrize(
    ("described", "model"),
    [
        ({"": "x", "grader.model.model": "'judge'", "solver.model": "'small'"}, "small"),
        ({"grader.model.model": "'judge'", "solver.seed": "3"}, None),
        ({"model": "'mine'", "solver.model": "'small'"}, "mine"),
        ({}, None),
    ],
)
def test_the_model_of_a_run_is_the_one_that_is_measured(
    described: dict[str, str], model: str | None
) -> None:
    assert model_in(json.dumps(described)) == model
