"""Runs compared: by their names, with one verdict, and by results where no match is recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_commands_in_a_terminal import piped

pytestmark = pytest.mark.timeout(200)  # several processes a test

PLAIN = '''
import chz
from nanoeval import Eval, Task


@chz.chz
class Plain(Eval[Task, bool]):
    """Records no match: its results are bools."""

    right: int = 30
    model: str = "m"

    def get_name(self):
        return "plain"

    async def get_tasks(self):
        return [Task(question_id=str(i)) for i in range(40)]

    async def evaluate(self, task):
        return int(task.question_id) < self.right

    async def get_summary(self, results):
        return {"accuracy": sum(r for _, r in results) / max(1, len(results))}
'''


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    (folder / "plain.py").write_text(PLAIN)
    for model, right in (("small", 10), ("large", 30), ("larger", 31)):
        done = piped("run", "plain.py", f"right={right}", f"model={model}", folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_runs_are_compared_by_name_and_by_their_results(two: Path) -> None:
    done = piped("compare", "small", "large", folder=two)
    assert done.returncode == 0, done.stderr
    assert "B (large) is better than A (small)." in done.stdout
    nothing = piped("samples", "small", "--wrong", folder=two)
    assert "no samples: what this run recorded is of no attempt" in nothing.stderr
    assert "B - A  +0.500" in done.stdout
    assert re.search(r"B better on 20, worse on 0 \(McNemar test, p = [\d.e-]+\)", done.stdout)


def test_p_value_and_verdict_agree(two: Path) -> None:
    for a, b in (("small", "large"), ("large", "larger"), ("larger", "small")):
        shown = piped("compare", a, b, folder=two).stdout
        p_value = re.search(r"p = ([\d.e-]+)\)", shown)
        assert p_value is not None, shown
        assert (float(p_value[1]) < 0.05) == ("do not tell" not in shown)
        low, high = map(float, re.findall(r"[+-]\d\.\d+", shown.partition("interval [")[2])[:2])
        assert (low > 0 or high < 0) == ("do not tell" not in shown)


def test_the_comparison_as_json_has_the_ids(two: Path) -> None:
    found = json.loads(piped("compare", "small", "large", "--json", folder=two).stdout)
    ids = {
        run["model"]: run["run_id"] for run in json.loads(piped("ls", "--json", folder=two).stdout)
    }
    assert found["runs"]["a"] == {"run_id": ids["small"], "eval": "plain", "model": "small"}
    assert found["runs"]["b"]["run_id"] == ids["large"]
    assert found["verdict"]["verdict"] == "not worse"
    many = json.loads(piped("compare", "small", "large", "larger", "--json", folder=two).stdout)
    assert many["runs"]["larger"]["run_id"] == ids["larger"]


def test_one_verdict_where_one_is_asked_for(two: Path) -> None:
    done = piped("compare", "large", "small", "--fail-if-worse", folder=two)
    assert done.returncode == 1
    assert "worse: difference -0.5" in done.stdout
    assert "is worse than" not in done.stdout


def test_without_results_and_matches_it_says_what_to_do(two: Path) -> None:
    ids = {
        run["model"]: run["run_id"] for run in json.loads(piped("ls", "--json", folder=two).stdout)
    }
    (state,) = (
        Path(run["state_file"])
        for run in json.loads(piped("ls", "--json", folder=two).stdout)
        if run["model"] == "larger"
    )
    aside = state.rename(state.with_suffix(".aside"))
    try:
        done = piped("compare", ids["small"], ids["larger"], folder=two)
    finally:
        aside.rename(state)
    assert done.returncode == 2
    assert "record_match" in done.stderr
