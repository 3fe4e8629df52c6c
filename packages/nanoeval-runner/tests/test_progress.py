"""What an eval may show of itself while it runs, and what is made of its results."""

from __future__ import annotations

import asyncio
from typing import Any

import chz
import pytest
from nanoeval_core.errors import BudgetExceeded, ConfigError, RolloutSystemError
from nanoeval_core.eval import Eval, RunningSummary
from nanoeval_core.metrics.running_summary import RunningAccuracy
from nanoeval_core.recorder import dummy_recorder
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_core.task import Task
from nanoeval_core.usage import Usage, report_usage
from nanoeval_runner import run
from nanoeval_runner._display.board import choose_surface
from nanoeval_runner._display.tally import Tally, score_of
from nanoeval_runner._display.view import EvalView
from nanoeval_runner.formats import (
    encodable,
    format_count,
    format_rate,
    format_score,
    format_seconds,
)
from nanoeval_runner.results import collecting
from nanoeval_runner.text_table import format_table

pytestmark = pytest.mark.usefixtures("folders")


class Seen:
    """What a run did, told to the test. It cannot be pickled: evals that hold it are not copied."""

    def __init__(self) -> None:
        self.updates: list[int] = []
        self.partial = asyncio.Event()
        self.summaries: list[int] = []
        self.held = memoryview(b"")


@chz.chz
class Watched(Eval[Task, bool]):
    seen: Any
    tasks: int = 10
    waits: bool = False
    fails: bool = False

    def get_name(self) -> str:
        return "watched"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=str(i)) for i in range(self.tasks)]

    async def evaluate(self, task: Task) -> bool:
        report_usage(Usage(requests=1, prompt_tokens=10, cost=0.5))
        if self.waits and task.question_id == "0":
            await self.seen.partial.wait()
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        self.seen.summaries.append(len(results))
        if self.waits and len(self.seen.summaries) == 2:  # the first one has been shown
            self.seen.partial.set()
        return {"accuracy": 1.0, "answers": len(results)}

    async def update_progress(self, partial_results: list[tuple[Task, Any]], pbar: Any) -> None:
        self.seen.updates.append(len(partial_results))
        if self.fails:
            raise ValueError("no")
        pbar.set_postfix({"seen": len(partial_results)}, refresh=False, ratio=0.5)


@chz.chz
class WithRunningSummary(Watched):
    def running_summary(self) -> RunningSummary:
        seen = self.seen

        class Running(RunningAccuracy):
            def summary(self) -> dict[str, Any]:
                seen.partial.set()
                return super().summary()

        return Running(score=lambda task, result: float(result))


def start(watched: type[Watched], seen: Seen, args: dict[str, Any], **fields: Any) -> Any:
    runner = RunnerArgs(recorder=dummy_recorder(), should_backup=False, **args)
    return run(EvalSpec(eval=watched(seen=seen, **fields), runner=runner))


def test_update_progress_sees_all_results_also_of_a_short_run() -> None:
    async def main() -> Seen:
        seen = Seen()
        await start(Watched, seen, {})
        return seen

    assert asyncio.run(main()).updates == [10]


def test_update_progress_that_fails_ends_the_run_as_itself() -> None:
    async def main() -> Any:
        return await start(Watched, Seen(), {}, fails=True)

    with pytest.raises(ValueError, match=r"^no$"):
        asyncio.run(main())


def test_partial_summaries_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> Seen:
        seen = Seen()
        await start(Watched, seen, {"summary_interval": 0.05}, waits=True)
        return seen

    seen = asyncio.run(main())  # one task waits for partial summaries
    assert seen.summaries[0] <= 9
    assert seen.summaries[-1] == 10
    shown = capsys.readouterr().err
    assert "watched: " in shown
    assert "partial True" in shown


def test_a_running_summary_is_asked_instead() -> None:
    async def main() -> Seen:
        seen = Seen()
        await start(WithRunningSummary, seen, {"summary_interval": 0.05}, waits=True)
        return seen

    assert asyncio.run(main()).summaries == [10]


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"budget_tokens": 35}, r"tokens of budget_tokens=35 are spent"),
        ({"budget_cost": 2.0}, r"2 of budget_cost=2 is spent"),
    ],
)
def test_a_budget_ends_the_run_and_says_how_to_go_on(budget: dict[str, Any], reason: str) -> None:
    async def main() -> None:
        await start(Watched, Seen(), {"concurrency": 1, **budget}, tasks=2000)

    with pytest.raises(BudgetExceeded, match=reason) as error:
        asyncio.run(main())
    assert "To resume" in str(error.value)


def test_scores_are_taken_from_results_that_say_what_they_are() -> None:
    class Graded:
        correct = True

    assert score_of(True) == 1.0
    assert score_of(Graded()) == 1.0
    assert score_of({"score": 0.25}) == 0.25
    assert score_of({"score": float("nan")}) is None
    assert score_of("text") is None


def test_tally_counts_each_result_once() -> None:
    async def main() -> Tally:
        return Tally(Watched(seen=Seen()))

    tally = asyncio.run(main())
    results: list[tuple[Any, Any]] = [(Task(question_id=str(i)), i % 2 == 0) for i in range(10)]
    results.append((Task(question_id="x"), RolloutSystemError("outage")))
    tally.catch_up(results[:4])
    tally.catch_up(results)
    tally.catch_up(results)
    summary = tally.summary()
    assert summary is not None
    assert summary["accuracy"] == 0.5
    assert summary["accuracy_stderr"] == pytest.approx((0.25 / 9) ** 0.5)


@chz.chz
class Lost(Eval[Task, bool]):
    def get_name(self) -> str:
        return "lost"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=str(i)) for i in range(3)]

    async def evaluate(self, task: Task) -> bool:
        if task.question_id != "0":
            raise RolloutSystemError("outage\nof everything")
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"accuracy": 1.0}


def test_lost_tasks_are_counted_by_their_errors_words() -> None:
    runner = RunnerArgs(recorder=dummy_recorder(), should_backup=False, max_retries=0)
    with collecting() as found:
        asyncio.run(run(EvalSpec(eval=Lost(), runner=runner)))
    assert [one.errors for one in found.results] == [
        {"RolloutSystemError: outage of everything": 2}
    ]


def test_numbers_as_people_read_them() -> None:
    seconds = [format_seconds(s) for s in (0.04, 9.9, 42, 125, 3723, 200_000)]
    assert seconds == ["0.0 s", "9.9 s", "42 s", "2:05", "1:02:03", "2 d 07 h"]
    assert [format_rate(r) for r in (1204, 3.14, 0.5, 0.001)] == [
        "1,204/s",
        "3.1/s",
        "30.0/min",
        "3.6/h",
    ]
    assert [format_count(n) for n in (7, 41_020, 1_240_000)] == ["7", "41,020", "1.24M"]
    assert format_score(0.6123, 0.0139) == "0.612 ± 0.014"
    assert encodable("0.5 ± 0.1 …", "ascii") == "0.5 +/- 0.1 ..."


def test_tables_align_wide_characters_and_leave_out_empty_columns() -> None:
    rows = [["数学", "", "0.5"], ["a", "", "0.25"]]
    assert format_table(["eval", "none", "score"], rows, right=frozenset({"score"})) == [
        "eval  score",
        "数学    0.5",
        "a      0.25",
    ]


def test_an_unknown_kind_of_display_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOEVAL_PROGRESS", "fancy")
    with pytest.raises(ConfigError, match="choose one of auto, live, lines, off"):
        choose_surface()


def test_what_update_progress_adds_is_not_said_twice() -> None:
    view = EvalView("mine", total=3, score={"accuracy": 0.5, "accuracy_stderr": 0.1})
    view.postfix = {"acc": "0.51", "turns": "4.2", "loss": "nan"}
    details = " · ".join(view.details())
    assert "turns 4.2" in details
    assert "acc 0.51" not in details
    assert "nan" not in details
