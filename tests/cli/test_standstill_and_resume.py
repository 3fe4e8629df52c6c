"""Why nothing moves, and the one command that goes on, as a person at a terminal sees them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, nanoeval
from tests.cli.test_commands_in_a_terminal import piped
from tests.support.script import environment

pytestmark = pytest.mark.timeout(200)  # several processes a test

EVAL = '''
import asyncio, os
import chz
from nanoeval import Eval, EvalSpec, RolloutSystemError, RunnerArgs, Task, run
from nanoeval.run_context import get_run_context
from nanoeval.setup import nanoeval_entrypoint


@chz.chz
class Still(Eval[Task, bool]):
    """Waits until the file GATE is there, and says why, if it is to."""

    says: str = ""
    opens: bool = True
    lost: bool = False
    sums_up: bool = True
    name: str = "still"

    def get_name(self):
        return self.name

    async def _wait(self):
        while not os.path.exists(os.environ["GATE"]):
            await asyncio.sleep(0.01)

    async def _context(self):
        if not self.opens:
            await self._wait()
        yield

    async def get_tasks(self):
        return [Task(question_id=str(i)) for i in range(4)]

    async def evaluate(self, task):
        if task.question_id == "0":
            if self.lost:
                raise RolloutSystemError("no route to host")
            return True
        if self.says:
            get_run_context().gauges["api"] = self.says
        await self._wait()
        return True

    async def get_summary(self, results):
        while not self.sums_up and not os.path.exists(os.environ["GATE"] + ".sum"):
            await asyncio.sleep(0.01)
        return {"accuracy": sum(r for _, r in results) / max(1, len(results))}


async def main(eval: Still, runner: RunnerArgs) -> None:
    await run(EvalSpec(eval=eval, runner=runner))


if __name__ == "__main__":
    nanoeval_entrypoint(main)
'''


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "still.py").write_text(EVAL)
    return tmp_path


def gated(*words: str, here: Path) -> Terminal:
    return nanoeval(*words, folder=here, size=(30, 400), GATE=str(here / "gate"))


def without_terminal(*words: str, here: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nanoeval", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=here,
        env=environment(here, GATE=str(here / "gate")),
    )


def test_what_executors_say_is_shown_while_nothing_finishes(here: Path) -> None:
    reason = "calls to http://x fail: connection refused, repeated 9 times"
    words = ("run", "still.py:Still", f"says={reason}")
    with without_terminal(*words, here=here) as process, gated(*words, here=here) as terminal:
        terminal.wait_for("fail: connection refused, repeated 9 times")
        assert "nothing finished for" in terminal.now
        assert process.stderr is not None
        said = next(line for line in process.stderr if "nothing finished for" in line)
        assert said.endswith(f"s: {reason}\n")
        (here / "gate").touch()
        assert terminal.finish() == 0
        assert "4/4 tasks" in terminal.text
        assert "nothing finished" not in terminal.now


def test_a_context_that_does_not_open_is_named_with_its_place(here: Path) -> None:
    with gated("run", "still.py:Still", "opens=False", here=here) as terminal:
        shown = terminal.wait_for(lambda text: "nothing finished for" in text)
        assert "context of eval 'still'" in shown
        assert re.search(r"still\.py:\d+", shown)
        (here / "gate").touch()
        assert terminal.finish() == 0


def test_a_long_reason_takes_some_lines_of_a_narrow_terminal(here: Path) -> None:
    says = "says=" + "the endpoint asks to wait until 07:02 " * 3 + "and no longer"
    words = ("run", "still.py:Still", says)
    with nanoeval(*words, folder=here, size=(30, 60), GATE=str(here / "gate")) as terminal:
        terminal.wait_for("no longer")
        assert max(map(len, terminal.now.splitlines())) <= 60
        (here / "gate").touch()
        assert terminal.finish() == 0


def test_otherwise_the_longest_running_task_is_named(here: Path) -> None:
    with gated("run", "still.py:Still", here=here) as terminal:
        terminal.wait_for(lambda text: re.search(r"3 in flight, still/\d", text) is not None)
        (here / "gate").touch()
        assert terminal.finish() == 0


def test_a_summary_that_takes_long_is_named_also_without_a_terminal(here: Path) -> None:
    (here / "gate").touch()
    with without_terminal("run", "still.py:Still", "sums_up=False", here=here) as process:
        assert process.stderr is not None
        assert any("eval 'still': summing up 4 results" in line for line in process.stderr)
        (here / "gate.sum").touch()
        shown, _ = process.communicate()
        assert process.returncode == 0
        assert "4/4 tasks" in shown


@pytest.mark.parametrize("words", [("run", "still.py:Still"), ("run", "still.py")])
def test_the_resume_command_that_is_printed_works(words: tuple[str, ...], here: Path) -> None:
    with gated(*words, "runner.shutdown_grace=0", here=here) as terminal:
        terminal.wait_for("1/4")
        terminal.type("\x03")
        assert terminal.finish() == 130
        told = terminal.text
    (command,) = set(re.findall(r"To resume: (\S*(?:python\S* -m )?nanoeval resume [\w-]+)", told))
    (here / "gate").touch()
    done = subprocess.run(
        shlex.split(command),
        cwd=here,
        env=environment(here, GATE=str(here / "gate")),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "4/4 tasks" in done.stdout


def test_a_sweep_says_once_how_to_go_on(here: Path) -> None:
    sweep = ("sweep", "still.py:Still", "name=a,b,c,d,e", "runner.shutdown_grace=0", "-o", "out")
    with gated(*sweep, here=here) as terminal:
        terminal.wait_for(lambda text: text.count("1/4") == 5)
        terminal.type("\x03")
        assert terminal.finish() == 130
        told = terminal.text
    assert "nanoeval resume" not in told
    assert told.count("-m nanoeval sweep") + told.count(" nanoeval sweep") >= 1
    assert len(re.findall(r"To (?:go on|resume)", told)) == 1, told
    (here / "gate").touch()
    assert piped(*sweep, folder=here, GATE=str(here / "gate")).returncode == 0


def test_lost_tasks_are_found_among_the_samples(here: Path) -> None:
    (here / "gate").touch()
    words = ("lost=True", "runner.max_retries=0")
    done = piped("run", "still.py:Still", *words, folder=here, GATE=str(here / "gate"))
    assert done.returncode == 0, done.stderr
    command = re.search(r"next: .*nanoeval (samples \w+ --errors)", done.stdout)
    assert command is not None, done.stdout
    shown = piped(*command[1].split(), "--json", folder=here)
    (lost,) = json.loads(shown.stdout)
    assert lost["verdict"] == "lost"
    assert "no route to host" in lost["errors"][0]["message"]


def test_many_runs_that_go_on_together_end_in_one_short_table(here: Path) -> None:
    (here / "gate").touch()
    (here / "many.py").write_text(
        "import asyncio, nanoeval\nfrom still import Still\n"
        "async def main():\n"
        "    specs = [nanoeval.EvalSpec(eval=Still(name=f'e{i}')) for i in range(30)]\n"
        "    await asyncio.gather(*map(nanoeval.run, specs))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "many.py"],
        cwd=here,
        env=environment(here, GATE=str(here / "gate")),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) <= 15
    assert "and 17 more" in done.stderr
