"""Mistakes that newcomers make, and what they are told: what is wrong, where, what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.api_server import KEY, MODEL, serving
from tests.support.script import environment

EVAL = """
import chz
from typing import Any
from nanoeval import Eval, Task

@chz.chz
class MyEval(Eval[Task, Any]):
    n: int = 3

    def get_name(self):
        return "mine"

    async def get_tasks(self):
        return [Task(question_id=str(i)) for i in range(self.n)]

    async def evaluate(self, task):
        return True

    async def get_summary(self, results):
        return {"accuracy": 1.0}
"""
TASKS = "[Task(question_id=str(i)) for i in range(self.n)]"
GPQA = ("run", "examples.gpqa_simple:GPQA", "solver=MockSolver")
API = ("run", "examples.gpqa_simple:GPQA", "runner.n_tasks=1", f"solver.model={MODEL}")


class Mistake(NamedTuple):
    """What is typed (`@` is the eval's file, `%` its module), and what must be in the answer."""

    typed: tuple[str, ...]
    told: tuple[str, ...]
    edit: tuple[str, str] | None = None
    code: int = 2
    env: tuple[tuple[str, str], ...] = ()


def in_code(old: str, new: str, *told: str, code: int = 2) -> Mistake:
    """A mistake in the eval's code."""
    return Mistake(("run", "@:MyEval"), told, (old, new), code)


def set_to(variable: str, value: str, *told: str, code: int = 2) -> Mistake:
    """A mistake in the environment."""
    return Mistake(("run", "@:MyEval"), told, None, code, ((variable, value),))


MISTAKES = [
    # the command
    Mistake(("rnu",), ("no command 'rnu'", "Did you mean `nanoeval run`?")),
    Mistake(("@:MyEval",), ("no command", "To run an eval: nanoeval run")),
    Mistake(("run", "--json"), ("which eval?", "nanoeval run my_pkg.my_eval:MyEval")),
    Mistake(("run", "nope.py:MyEval"), ("there is no file nope.py in",)),
    Mistake(("run", "nope:MyEval"), ("there is no module 'nope'", "give its file")),
    Mistake(("run", "@:MyEvil"), ("has no MyEvil", "did you mean MyEval?")),
    Mistake(("run", "@:Task"), ("is the class Task, not an eval", "has MyEval")),
    Mistake(("run", "@.MyEval"), ("write ", ".py:MyEval")),
    Mistake(("run", ""), ("'' names no module", "my_pkg.my_eval:MyEval")),
    Mistake(("run", "."), ("'.' names no module",)),
    # its arguments
    Mistake(("run", "@:MyEval", "--verbose"), ("there is no option --verbose",)),
    Mistake(("ls", "--state=finished"), ("'finished'", "done", "died")),
    Mistake(("ls", "--colour"), ("there is no option --colour",)),
    Mistake(("run", "@:MyEval", "=3"), ("argument '=3': write it as name=value",)),
    Mistake(("run", "@:MyEval", "n="), ("argument 'n=': there is nothing behind the =",)),
    Mistake((*GPQA, "solver.model=x"), ("no argument 'solver.model'", "=OpenAIAPIMCQSolver")),
    Mistake(("run", "@:MyEval", "n", "5"), ("argument 'n': write it as name=value",)),
    Mistake(("run", "@:MyEval", "N=5"), ("no argument 'N'", "Did you mean 'n'?")),
    Mistake(("run", "@:MyEval", "runner.concurency=5"), ("Did you mean 'runner.concurrency'?",)),
    Mistake(("run", "@:MyEval", "concurrency=5"), ("Did you mean 'runner.concurrency'?",)),
    Mistake(("run", "@:MyEval", "n=five"), ("n='five': give a whole number",)),
    Mistake(("run", "@:MyEval", "runner.concurrency=ten"), ("give a whole number or None",)),
    Mistake(("run", "@:MyEval", "runner.concurrency=0"), ("give a positive number, or None",)),
    Mistake(("run", "@:MyEval", "runner.n_tasks=0"), ("RunnerArgs.n_tasks=0: give a positive",)),
    Mistake(("run", "@:MyEval", "runner.num_processes=2"), ("needs a pool", "leave it out")),
    Mistake(
        ("run", "@:MyEval", "runner.slack_name=me", "runner.enable_slackbot=False"),
        ("RunnerArgs.slack_name='me'", "leave one out"),
    ),
    Mistake(("run", "@:MyEval", "runner.run_set_id=../x"), ("it names a file", "letters, digits")),
    Mistake(("run", "@:MyEval", "runner.recorder=evalib"), ("choose one of", "evallib")),
    Mistake(("run", "@:MyEval", "runner.executor=rya"), ("no such executor", "in_process")),
    Mistake((*GPQA[:2], "solver=MokSolver"), ("Did you mean 'MockSolver'?",)),
    Mistake((*GPQA, "solver.accuracy=2"), ("accuracy=2", "from 0 to 1")),
    Mistake((*GPQA, "data=missing.csv"), ("data='missing.csv' cannot be read",)),
    Mistake((*GPQA, "data=@"), ("row 2", "is a ',' not quoted?")),
    Mistake(("run", "@:MyEval", "--budget-token=5"), ("did you mean --budget-tokens?",)),
    Mistake(("run", "@:MyEval", "--budget-tokens=-5"), ("'-5' is no positive number",)),
    # the eval's code
    in_code("import chz", "import chz, numpyy", "imports 'numpyy'", "not installed"),
    in_code("def get_name", "def def get_name", ".py:10: invalid syntax"),
    in_code("n: int = 3", "n: int", "missing: n. Give n=…"),
    in_code("@chz.chz\n", "", "put @chz.chz above `class MyEval`"),
    in_code("def get_summary", "def sumary", "does not define get_summary"),
    in_code('return "mine"', "return None", "get_name() must return a text, got None"),
    in_code(TASKS, "[]", "get_tasks() returned no tasks"),
    in_code(TASKS, "None", "must return a sequence of Task, got NoneType"),
    in_code(TASKS, '["a"]', "get_tasks()[0] is a str", "must be an instance of nanoeval.Task"),
    in_code("str(i)", '"same"', "[1] has the id of [0]", "different attempt_ids", code=0),
    in_code("str(i)", 'f"a/{i}"', "'a/0' contains '/'", "use another character", code=1),
    in_code("question_id=", "id=", "question_id", "Field required", ".py:14", code=1),
    in_code("str(i)", "i", "question_id", "should be a valid string", ".py:14", code=1),
    in_code("async def get_tasks", "def get_tasks", "is an `async` missing?", code=1),
    in_code("async def evaluate", "def evaluate", "is an `async` missing?", code=1),
    in_code("async def get_summary", "def get_summary", "is an `async` missing?", code=1),
    in_code("return True", "return {}['x']", "KeyError: 'x'", "task '0'", ".py:17", code=1),
    in_code(
        "return True", "raise ExceptionGroup('two', [KeyError('x')])", "task '0'", "'x'", code=1
    ),
    in_code("return True", "return __import__('threading').Lock()", "result of task", "pickle"),
    in_code('return {"accuracy": 1.0}', "return 1", "must return a dict of metrics", code=1),
    in_code('{"accuracy": 1.0}', "1 / 0", "ZeroDivisionError", "results", ".py:20", code=1),
    Mistake(
        ("run", "@:MyEval", "n=40"),
        ("result of task", "  and 13 more like it"),
        ("return True", "return __import__('threading').Lock()"),
    ),
    # the surroundings
    set_to("NANOEVAL_STATE_DIR", "/dev/null/x", "make it writable, or set NANOEVAL_STATE_DIR"),
    set_to("NANOEVAL_LOG_DIR", "/dev/null/x", "Set NANOEVAL_LOG_DIR to a folder"),
    set_to("NANOEVAL_PROGRESS", "fancy", "choose one of auto, live, lines, off"),
    Mistake(API, ("no API key", "OPENAI_API_KEY is not set", "base_url")),
    Mistake((*API, "solver.base_url=localhost:80"), ("must begin with http:// or https://",)),
    Mistake((*API, "solver.api_key_env=sk-123"), ("name the one that holds the key",)),
    Mistake((*API, "solver.base_url=$WRONG_KEY"), ("Incorrect API key", "OPENAI_API_KEY")),
    Mistake(
        (*API, "solver.base_url=$RIGHT_KEY", "solver.model=gpt-9"), ("`gpt-9` does not exist",)
    ),
    # looking at runs
    Mistake(("show", "nope"), ("no run is known", "NANOEVAL_LOG_DIR")),
    Mistake(("show", "nope.jsonl"), ("there is no record at nope.jsonl",)),
    Mistake(("show", "@", "--slow"), ("did you mean --slowest?",)),
    Mistake(("samples", "--run", "@"), ("it goes without a name: nanoeval samples [RUN]",)),
    Mistake(("compare", "@", "@"), ("no run is known",)),
    Mistake((*API, "modle=x"), ("'modle'", "Did you mean 'model'?")),
    Mistake(("--verison",), ("Did you mean '--version'?",)),
    Mistake(("show", "--to"), ("there is no option --to\n",)),
    Mistake(("compare", "last"), ("name two, as in `nanoeval compare A B`",)),
    Mistake(("export", "last", "--to", "xls"), ("'xls'", "parquet")),
    Mistake(("export", "last"), ("required: --to",)),
    Mistake(("export", "last", "--to", "inspect", "-o", "x.log"), ("x.log", "*.json or *.eval")),
    Mistake(("resume", "nope"), ("there is no run set 'nope'", "nanoeval resume")),
    Mistake(("sweep", "@:MyEval", "n=1,1"), ("twice", "give each value once")),
    Mistake(("sweep", "@:MyEval", "runner.run_set_id=a,b"), ("--name names it",)),
    Mistake(
        ("sweep", "@:MyEval", "n=1,2", "-o", "/dev/null/x"),
        ("the sweep's folder /dev/null/x cannot be written", "another with -o"),
    ),
    Mistake(("sweep", "n=1,2"), ("Name them first",)),
    Mistake(("new", "my-eval"), ("try `nanoeval new my_eval`",)),
    Mistake(("new", "class"), ("'class' is no name for a module",)),
    Mistake(("clean", "--older-than=-1"), ("give days, 0 or more",)),
    Mistake(("concurrency", "last", "zero"), ("'zero' is no positive number",)),
    Mistake(("completion", "tcsh"), ("'tcsh'", "bash")),
]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, with nanoeval's own folders in it."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "NANOEVAL_")):
            monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        if name == "HOME" or name.startswith("NANOEVAL_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_enough_of_them() -> None:
    assert len(MISTAKES) >= 60


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda n: " ".join(MISTAKES[n].typed))
def test_a_mistake_is_answered(
    number: int,
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nanoeval_cli._main import main

    mistake = MISTAKES[number]
    module = f"mistake_{number}"  # modules stay loaded: each has a name of its own
    source = EVAL if mistake.edit is None else EVAL.replace(*mistake.edit)
    assert mistake.edit is None or source != EVAL
    (fresh / f"{module}.py").write_text(source)
    for name, value in mistake.env:
        monkeypatch.setenv(name, value)
    typed = [word.replace("@", f"{module}.py") for word in mistake.typed]
    if "$" in " ".join(typed):
        monkeypatch.setenv("OPENAI_API_KEY", KEY if "$RIGHT_KEY" in " ".join(typed) else "wrong")
    with serving() as server:
        typed = [re.sub(r"\$\w+_KEY", server.base_url, word) for word in typed]
        with pytest.raises(SystemExit) as ended:
            main(typed)
    told = capsys.readouterr().err
    assert ended.value.code == mistake.code, told
    assert not [part for part in mistake.told if part not in told], told
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 16
