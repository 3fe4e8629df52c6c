"""One grammar: three spellings, evals by file and class, a model alone, others' habits."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from nanoeval_core.errors import ConfigError

from tests.cli.test_commands_in_a_terminal import piped
from tests.support.api_server import KEY, MODEL, serving

pytestmark = pytest.mark.timeout(200)  # several processes a test

EVALS = '''
import chz
from nanoeval import Eval, Task
from nanoeval.solvers.mcq import MCQEval, MCQSolver, Question


@chz.chz
class Choices(MCQEval):
    """Asks whatever solver it is given; there is no default."""

    solver: MCQSolver = chz.field(doc="Answers the questions.")

    def get_name(self):
        return "choices"

    async def get_questions(self):
        return [Question(id=str(i), question="1 + 1?", answers=["1", "2"], correct_indices={1})
                for i in range(4)]


@chz.chz
class Plain(Eval[Task, bool]):
    """Has no solver."""

    tasks: int = chz.field(default=3, doc="How many.")
    lost: int = 0
    loop: str = "no"

    def get_name(self):
        return "plain"

    async def get_tasks(self):
        return [Task(question_id=str(i)) for i in range(self.tasks)]

    async def evaluate(self, task):
        if int(task.question_id) < self.lost:
            from nanoeval import RolloutSystemError
            raise RolloutSystemError("the sandbox did not start")
        return True

    async def get_summary(self, results):
        return {"accuracy": sum(r for _, r in results) / max(1, len(results))}
'''


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "evals.py").write_text(EVALS)
    (tmp_path / "one.py").write_text(EVALS.partition("@chz.chz\nclass Plain")[0])
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "deep.py").write_text(EVALS)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("solver=MockSolver", "solver.accuracy=1", "runner.n_tasks=2", "--json"),
        ("--solver=MockSolver", "--solver.accuracy=1", "--runner.n_tasks=2", "--json"),
        ("--solver", "MockSolver", "--solver.accuracy", "1", "--runner.n_tasks", "2", "--json"),
        ("json=True", "solver=MockSolver", "--solver.accuracy", "1", "runner.n_tasks=2"),
        ("--json=yes", "...accuracy=1", "solver=MockSolver", "--runner.n_tasks=2"),
    ],
)
def test_three_spellings_mean_the_same_in_run(words: tuple[str, ...], here: Path) -> None:
    done = piped("run", "evals.py:Choices", *words, folder=here)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["accuracy"], summary["num_tasks"]) == (1.0, 2)


@pytest.mark.parametrize("words", [("--limit", "1"), ("--limit=1",), ("limit=1",), ("-n", "1")])
def test_three_spellings_mean_the_same_in_ls(words: tuple[str, ...], here: Path) -> None:
    for _ in range(2):
        assert piped("run", "evals.py:Plain", folder=here).returncode == 0
    done = piped("ls", *words, "--json", folder=here)
    assert len(json.loads(done.stdout)) == 1, done.stderr


@pytest.mark.parametrize("words", [("--port", "70000"), ("--port=70000",), ("port=70000",)])
def test_three_spellings_mean_the_same_in_monitor(words: tuple[str, ...], here: Path) -> None:
    pytest.importorskip("nanoeval_monitor")
    done = piped("monitor", *words, folder=here)
    assert (done.returncode, "give a number from 0 to 65535" in done.stderr) == (2, True)


@pytest.mark.parametrize("words", [("--tasks", "5"), ("--tasks=5",), ("tasks=5",)])
def test_three_spellings_mean_the_same_in_scripts(words: tuple[str, ...], here: Path) -> None:
    (here / "script.py").write_text(
        "from evals import Plain\n"
        "from nanoeval import EvalSpec, RunnerArgs, run\n"
        "from nanoeval.setup import nanoeval_entrypoint\n"
        "async def main(eval: Plain, runner: RunnerArgs) -> None:\n"
        "    await run(EvalSpec(eval=eval, runner=runner))\n"
        "if __name__ == '__main__':\n"
        "    nanoeval_entrypoint(main)\n"
    )
    done = piped("run", "script.py", *words, folder=here)
    assert done.returncode == 0, done.stderr
    assert "5/5 tasks" in done.stderr


@pytest.mark.parametrize("words", [("--loop", "yes"), ("--loop=yes",), ("loop=yes",)])
def test_a_field_that_is_called_like_an_option_is_the_field(
    words: tuple[str, ...], here: Path
) -> None:
    done = piped("run", "evals.py:Plain", *words, folder=here)
    assert done.returncode == 0, done.stderr
    shown = json.loads(piped("show", "plain", "--json", folder=here).stdout)
    first = Path(shown["record"]).read_text().splitlines()[0]
    assert json.loads(first)["spec"]["run_config"]["eval_spec"]["args"]["loop"] == "yes"


@pytest.mark.parametrize(
    "target",
    [
        "./evals.py:Plain",
        "evals.py::Plain",
        "evals:Plain",
        "pkg/deep.py:Plain",
        "./pkg/deep.py::Plain",
    ],
)
def test_an_eval_by_file_and_class(target: str, here: Path) -> None:
    done = piped("run", target, "tasks=2", folder=here)
    assert done.returncode == 0, done.stderr
    assert "2/2 tasks" in done.stdout


def test_a_file_with_one_eval_needs_no_class(here: Path) -> None:
    done = piped("run", "one.py", "solver=MockSolver", "n_consensus=2", folder=here)
    assert done.returncode == 0, done.stderr
    assert "8/8 tasks" in done.stdout


@pytest.mark.parametrize(
    "words", [("model=MODEL",), ("--model", "MODEL"), ("solver.model=MODEL",), ("...model=MODEL",)]
)
def test_a_model_alone_asks_an_api(words: tuple[str, ...], here: Path) -> None:
    with serving() as server:
        done = piped(
            "run",
            "evals.py:Choices",
            *(word.replace("MODEL", MODEL) for word in words),
            folder=here,
            OPENAI_BASE_URL=server.base_url,
            OPENAI_API_KEY=KEY,
        )
    assert done.returncode == 0, done.stderr
    assert f"choices · {MODEL}" in done.stdout
    assert "4/4 tasks" in done.stdout


def test_without_a_solver_it_lists_what_may_be_given(here: Path) -> None:
    done = piped("run", "evals.py:Choices", folder=here)
    assert done.returncode == 2
    assert "missing: solver" in done.stderr
    assert "OpenAIAPIMCQSolver" in done.stderr
    assert "MockSolver" in done.stderr
    assert "model=" in done.stderr


def test_help_lists_the_fields_of_the_classes_that_the_arguments_name(here: Path) -> None:
    plain = piped("run", "evals.py:Choices", "--help", folder=here).stdout
    assert "  solver  MCQSolver, required" in plain
    named = piped("run", "evals.py:Choices", "solver=OpenAIAPIMCQSolver", "-h", folder=here).stdout
    assert "  solver.model  str, required" in named
    assert "  solver.temperature" in named
    assert "--fail-on-errors" in named


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("view",), "nanoeval monitor"),
        (("eval", "x"), "nanoeval run"),
        (("run", "evals.py:Plain", "--limit", "3"), "runner.n_tasks=N"),
        (("run", "evals.py:Plain", "-T", "tasks=3"), "name=value, without -T"),
        (("run", "evals.py:Plain", "-M", "x=3"), "solver.name=value"),
        (("run", "evals.py:Plain", "--max-connections", "3"), "runner.concurrency=N"),
        (("run", "evals.py:Plain", "--model", "x"), "there is no argument 'model'"),
        (("run", "evals.py:Plain", "--tasks"), "--tasks needs a value: --tasks VALUE"),
    ],
)
def test_the_habits_of_other_tools_are_answered(
    typed: tuple[str, ...], told: str, here: Path
) -> None:
    done = piped(*typed, folder=here)
    assert done.returncode == 2
    assert told in done.stderr


def test_version(here: Path) -> None:
    assert piped("-V", folder=here).stdout == piped("--version", folder=here).stdout
    assert piped("-V", folder=here).stdout.startswith("nanoeval ")


def test_a_sweep_over_the_runner_and_over_mixed_evals(here: Path) -> None:
    done = piped(
        "sweep",
        "evals.py:Plain",
        "evals.py:Choices",
        "solver=MockSolver",
        "solver.accuracy=0,1",
        "runner.concurrency=1,2",
        "-o",
        "out",
        "--json",
        folder=here,
    )
    assert done.returncode == 0, done.stderr
    assert "sweep plain-choices: 2 evals × 6 choices, 6 cells" in done.stderr.splitlines()[0]
    cells = json.loads(done.stdout)
    assert [cell["choice"] for cell in cells] == [
        "concurrency=1",
        "concurrency=2",
        "accuracy=0, concurrency=1",
        "accuracy=0, concurrency=2",
        "accuracy=1, concurrency=1",
        "accuracy=1, concurrency=2",
    ]
    assert [cell["summary"]["accuracy"] for cell in cells] == [1, 1, 0, 0, 1, 1]
    runs = json.loads(piped("ls", "--json", folder=here).stdout)
    assert {run["part_of"] for run in runs} == {"sweep plain-choices"}
    assert len({run["model"] for run in runs}) == 6


def test_a_sweep_refuses_an_argument_that_no_eval_has(here: Path) -> None:
    done = piped("sweep", "evals.py:Plain", "nope=1,2", folder=here)
    assert (done.returncode, "there is no argument 'nope'" in done.stderr) == (2, True)


def test_nothing_measured_is_told_in_the_last_line_and_exits_with_1(here: Path) -> None:
    arguments = ("runner.max_retries=0", "lost=3")
    done = piped("run", "evals.py:Plain", *arguments, folder=here)
    assert done.returncode == 1, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("3 tasks lost: nothing was measured; ")
    assert "RolloutSystemError: the sandbox did not start (3 times)" in last
    assert "accuracy" not in done.stdout


def test_a_script_that_measured_nothing_exits_with_1(here: Path) -> None:
    (here / "script.py").write_text(
        "import nanoeval\nfrom evals import Plain\n"
        "from nanoeval.setup import nanoeval_entrypoint\n"
        "if __name__ == '__main__':\n"
        "    runner = nanoeval.RunnerArgs(max_retries=0)\n"
        "    spec = nanoeval.EvalSpec(eval=Plain(lost=3), runner=runner)\n"
        "    nanoeval_entrypoint(nanoeval.run(spec))\n"
    )
    done = piped("run", "script.py", folder=here)
    assert done.returncode == 1, done.stderr
    assert "nothing was measured" in done.stderr


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ((), 0),
        (("--fail-on-errors",), 1),
        (("--fail-on-errors", "0.5"), 0),
        (("--fail-on-errors=20%",), 1),
        (("fail_on_errors=0.2",), 1),
    ],
)
def test_fail_on_errors(option: tuple[str, ...], code: int, here: Path) -> None:
    done = piped("run", "evals.py:Plain", "runner.max_retries=0", "lost=1", *option, folder=here)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1].startswith("1 task lost: the score is of 2; ")


def test_fail_on_errors_takes_a_share(here: Path) -> None:
    done = piped("run", "evals.py:Plain", "--fail-on-errors", "7", folder=here)
    assert (done.returncode, "a share from 0 to 1" in done.stderr) == (2, True)


@pytest.mark.parametrize("runner", ["", "runner.experimental_use_multiprocessing=True"])
def test_a_run_on_uvloop(runner: str, here: Path) -> None:
    pytest.importorskip("uvloop", reason="uvloop is not here: pip install uvloop")
    evals = ["run", "evals.py:Choices", "solver=MockSolver", "--loop", "uvloop"]
    done = piped(*evals, *runner.split(), folder=here)
    assert done.returncode == 0, done.stderr


def test_uvloop_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from nanoeval_cli._event_loop import run_in_loop

    monkeypatch.setitem(sys.modules, "uvloop", None)

    async def main() -> None:
        raise AssertionError("it was refused")

    with pytest.raises(ConfigError, match=re.escape('pip install "nanoeval-cli[uvloop]"')):
        run_in_loop(main(), "uvloop")


@pytest.mark.parametrize(
    ("target", "words", "seen"),
    [
        ("evals.py:Looking", (), 50_000),
        ("evals.py:Looking", ("runner.gc_threshold=1234",), 1234),
        ("script.py", (), 700),
    ],
)
def test_the_command_has_garbage_collected_rarely_and_a_script_as_python_does(
    target: str, words: tuple[str, ...], seen: int, here: Path
) -> None:
    (here / "evals.py").write_text(
        f"{EVALS}\n\n"
        "@chz.chz\n"
        "class Looking(Plain):\n"
        "    async def evaluate(self, task):\n"
        "        import gc\n"
        "        return str(gc.get_threshold()[0]) == self.loop\n"
    )
    (here / "script.py").write_text(
        "from evals import Looking\n"
        "from nanoeval import EvalSpec, run\n"
        "from nanoeval.setup import nanoeval_entrypoint\n"
        "async def main(loop: str) -> None:\n"
        "    print(await run(EvalSpec(eval=Looking(loop=loop))))\n"
        "if __name__ == '__main__':\n"
        "    nanoeval_entrypoint(main)\n"
    )
    json_too = ("--json",) if target.startswith("evals") else ()
    done = piped("run", target, f"loop={seen}", *words, *json_too, folder=here)
    assert done.returncode == 0, done.stderr
    assert re.search(r"""["']accuracy["']: 1\.0""", done.stdout), done.stdout
