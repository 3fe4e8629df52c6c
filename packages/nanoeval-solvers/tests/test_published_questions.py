"""Evals written for the published interface of questions run unchanged."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import threading
from abc import ABC
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import chz
import pytest
from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder import dummy_recorder, get_recorder
from nanoeval_solvers import mcq, short_answer
from nanoeval_solvers._replies.parsing import read_choices
from nanoeval_solvers.data import FromRows
from nanoeval_solvers.mcq_api import MC_PROMPT_FORMAT, MCQAPISolver, OpenAIAPIMCQSolver
from nanoeval_solvers.testing import ModelServer

from tests.support.solver_attempts import Attempt


class Guess(mcq.Answer):
    sure: float = 0.0


@chz.chz
class First(mcq.MCQSolver[Guess]):
    entered: list[str] = chz.field(default_factory=list)

    @asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        self.entered.append("in")
        yield
        self.entered.append("out")

    async def solve(self, task: mcq.MCQTask) -> Guess:
        question = task.question
        get_recorder().record_sampling(prompt=question.question, sampled="(A)")
        picked: int | set[int] = {0} if question.allow_multiple_choices else 0
        right = question.correct_indices == {0}
        return Guess(correct=right, picked=picked, metadata={"why": "first"}, sure=0.9)

    def compute_extra_metrics(
        self, results: list[tuple[mcq.MCQTask, Guess]], n_consensus: int
    ) -> dict[str, Any]:
        return {"sure": results[0][1].sure, "k": n_consensus, "thread": threading.get_ident()}


@chz.chz
class Letters(mcq.MCQEval, ABC):
    def get_name(self) -> str:
        return "letters"

    async def _get_tasks(self) -> list[mcq.Question]:
        return [
            mcq.Question(question="1?", answers=["a", "b"], correct_indices=[0]),  # type: ignore[arg-type]
            mcq.Question(question="2?", answers=["a", "b"], correct_indices={1}),
            mcq.Question(
                question="3?",
                answers=["a", "b"],
                correct_indices={0},
                allow_multiple_choices=True,
                metadata={"subject": "sets"},
            ),
        ]


def test_questions_are_numbered_and_attempts_count_from_0() -> None:
    tasks = asyncio.run(Letters(solver=First(), n_consensus=2).get_tasks())
    assert [task.name for task in tasks] == [
        *("letters.0.0", "letters.1.0", "letters.2.0"),
        *("letters.0.1", "letters.1.1", "letters.2.1"),
    ]
    assert [task.question.answers for task in tasks] == [["a", "b"]] * 6  # never shuffled
    assert (tasks[0].question.seed, tasks[0].question.image) == (42, None)


def test_an_answer_comes_back_as_it_was_made_and_is_recorded_by_index() -> None:
    eval = Letters(solver=First())
    one, _, several = asyncio.run(eval.get_tasks())
    attempt = Attempt(eval.evaluate(one))
    assert isinstance(attempt.result, Guess)
    assert attempt.result.sure == 0.9
    assert attempt.recorder.matches == [
        {
            "correct": True,
            "expected": [0],
            "picked": 0,
            "prob_correct": None,
            "metadata": {"why": "first"},
        }
    ]
    (match,) = Attempt(eval.evaluate(several)).recorder.matches
    assert match["picked"] == 0  # the one element of a set
    assert match["metadata"] == {"subject": "sets", "why": "first"}


def test_choices_may_have_the_same_text() -> None:
    question = mcq.Question(question="?", answers=["no", "no", "yes"], correct_indices={1})
    assert question.is_right({1})
    assert not question.is_right({0})
    assert read_choices("Answer: B", question.answers).picked == frozenset({1})
    assert read_choices("Answer: no", question.answers).picked is None


def test_the_summary_has_what_the_solver_adds() -> None:
    eval = Letters(solver=First(), n_consensus=2)

    async def summary() -> dict[str, Any]:
        with dummy_recorder():
            async with eval:
                return await eval.get_summary([(t, await eval.evaluate(t)) for t in await tasks()])

    tasks = eval.get_tasks
    found = asyncio.run(summary())
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert (found["sure"], found["k"]) == (0.9, 2)
    assert found["thread"] != threading.get_ident()
    assert asyncio.run(eval.get_summary([])) == {}
    assert eval.solver.entered == ["in", "out"]


def test_picks_of_another_type_are_refused() -> None:
    @chz.chz
    class Wrong(mcq.MCQSolver[mcq.Answer]):
        async def solve(self, task: mcq.MCQTask) -> mcq.Answer:
            return mcq.Answer(correct=False, picked={0})

    task = asyncio.run(Letters(solver=Wrong()).get_tasks())[0]
    with pytest.raises(AssertionError, match="give an index"):
        Attempt(Letters(solver=Wrong()).evaluate(task))


def test_the_mock_answers_with_the_right_type() -> None:
    eval = Letters(solver=mcq.MockSolver(), n_consensus=20)
    results = [(t, Attempt(eval.evaluate(t)).result) for t in asyncio.run(eval.get_tasks())]
    assert all(
        isinstance(answer.picked, set) == task.question.allow_multiple_choices
        for task, answer in results
    )
    assert 0.25 < sum(answer.correct for _, answer in results) / 60 < 0.75


def test_progress_is_the_accuracy() -> None:
    class Bar:
        def __init__(self) -> None:
            self.shown: dict[str, Any] = {}

        def set_postfix(self, *_: Any, **shown: Any) -> None:
            self.shown = shown

    bar, eval = Bar(), Letters(solver=First())
    asyncio.run(eval.update_progress([], bar))
    assert math.isnan(bar.shown["acc"])
    task = asyncio.run(eval.get_tasks())[0]
    asyncio.run(eval.update_progress([(task, Guess(correct=True, picked=0))], bar))
    assert bar.shown["acc"] == 1


def test_what_subclasses_of_the_api_solver_use(model_server: ModelServer) -> None:
    @chz.chz
    class LastLetter(OpenAIAPIMCQSolver):
        @classmethod
        def _extract_picked_letters(
            cls, sampled: str, answer_keys: set[str], allow_multiple_choices: bool
        ) -> set[str]:
            return {sampled[-1]} & answer_keys

    assert MCQAPISolver is OpenAIAPIMCQSolver
    assert "letters_to_answers" in MC_PROMPT_FORMAT
    extract = OpenAIAPIMCQSolver._extract_picked_letters
    assert extract("Answer: B", {"A", "B"}, False) == {"B"}
    assert extract("**Answer:** A, B", {"A", "B"}, True) == {"A", "B"}
    assert extract("I cannot tell.", {"A", "B"}, False) == set()
    task = asyncio.run(Letters(solver=First()).get_tasks())[0]
    model_server.reply = "it ends with B"
    solver = LastLetter(model="m", base_url=model_server.url)
    answer = Attempt(solver.solve(task)).result
    assert (answer.picked, answer.metadata) == (1, {"correct_format": True})
    guess = OpenAIAPIMCQSolver._random_guess(task.question)
    assert guess.metadata == {"random_guess": True}
    assert guess == OpenAIAPIMCQSolver._random_guess(task.question)


def test_a_solver_with_a_client_of_its_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    @chz.chz
    class Own(OpenAIAPIMCQSolver):
        @functools.cached_property
        def _client(self) -> Any:
            message = SimpleNamespace(content="Answer: B")
            response = SimpleNamespace(
                choices=[SimpleNamespace(message=message, finish_reason="stop")]
            )
            create = AsyncMock(return_value=response)
            return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    eval = Letters(solver=Own(model="m"))
    task = asyncio.run(eval.get_tasks())[0]

    async def evaluate() -> mcq.Answer:
        async with eval:
            return await eval.evaluate(task)

    assert Attempt(evaluate()).result.picked == 1


def test_a_follow_up_is_asked_once_and_recorded(model_server: ModelServer) -> None:
    model_server.replies.extend(["I wonder.", "B"])
    solver = OpenAIAPIMCQSolver(model="m", base_url=model_server.url, follow_up=True)
    task = asyncio.run(Letters(solver=First()).get_tasks())[0]
    attempt = Attempt(solver.solve(task))
    assert (attempt.result.picked, attempt.result.followed_up) == (1, True)
    assert len(attempt.recorder.samplings) == 2
    assert "Reply with the letter only" in model_server.requests[1].body["messages"][-1]["content"]


def test_an_eval_runs_in_processes(run_eval: Any) -> None:
    eval = Letters(solver=First(), n_consensus=2)
    summary = run_eval(eval, experimental_use_multiprocessing=True, num_processes=2)
    assert summary["accuracy"] == pytest.approx(2 / 3)


@chz.chz
class Graded(short_answer.ShortAnswerSolver):
    verdict: bool | None = True

    async def solve(self, task: short_answer.ShortAnswerTask) -> short_answer.Answer:
        return short_answer.Answer(answer="42", is_correct=self.verdict, metadata={"n": 1})


@chz.chz
class Sums(short_answer.ShortAnswerEval):
    def get_name(self) -> str:
        return "sums"

    async def _get_tasks(self) -> list[short_answer.Question]:
        return [short_answer.Question(question="6 * 7?"), short_answer.Question(question="40 + 2?")]


def test_short_answers_are_graded_by_their_solver() -> None:
    eval = Sums(solver=Graded(), samples_per_question=2)
    tasks = asyncio.run(eval.get_tasks())
    assert [task.name for task in tasks] == ["sums.0.0", "sums.1.0", "sums.0.1", "sums.1.1"]
    attempt = Attempt(eval.evaluate(tasks[0]))
    assert attempt.recorder.matches[0]["correct"] is True
    assert attempt.recorder.matches[0]["metadata"] == {"n": 1}
    results = [(task, Attempt(eval.evaluate(task)).result) for task in tasks]
    assert asyncio.run(eval.get_summary(results))["accuracy"] == 1
    assert asyncio.run(eval.get_summary([])) == {}
    lost = eval.process_invalid(tasks[0])
    assert (lost.answer, lost.is_correct) == ("dummy", False)


def test_answers_that_nobody_grades_have_no_accuracy() -> None:
    eval = Sums(solver=Graded(verdict=None))
    results = [(t, Attempt(eval.evaluate(t)).result) for t in asyncio.run(eval.get_tasks())]
    assert math.isnan(asyncio.run(eval.get_summary(results))["accuracy"])


def test_questions_come_from_files(tmp_path: Path) -> None:
    csv, jsonl = tmp_path / "q.csv", tmp_path / "q.jsonl"
    csv.write_text("Q,right,wrong,field\n1?,a,b,maths\n2?,c,d,\n")
    (one, two) = mcq.Question.from_csv(
        csv,
        {
            "question": "Q",
            "answers": ["right", "wrong"],
            "correct": {0},
            "metadata": {"subject": "field"},
        },
    )
    assert (one.answers, one.correct_indices) == (["a", "b"], {0})
    assert two.metadata == {"subject": ""}
    jsonl.write_text(json.dumps({"question": "?", "answers": "42"}) + "\n\n")
    assert short_answer.Question.from_jsonl(jsonl)[0].answers == ("42",)
    made = mcq.Question.from_rows(
        [{"q": "1?", "key": 1}, {"q": "", "key": 0}],
        lambda row: (
            {"question": row["q"], "answers": ["a", "b"], "correct": row["key"]}
            if row["q"]
            else None
        ),
    )
    assert [question.correct_indices for question in made] == [{1}]


def test_a_task_of_your_own_comes_from_rows(tmp_path: Path) -> None:
    from nanoeval_core.task import Task

    class Sum(FromRows, Task):
        a: int
        b: int

    (tmp_path / "sums.csv").write_text("a,b\n1,2\n3,4\n")
    assert [(s.question_id, s.a + s.b) for s in Sum.from_csv(tmp_path / "sums.csv")] == [
        ("0", 3),
        ("1", 7),
    ]


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        (
            "q\n1?\n",
            {"question": "Q"},
            r"q.csv, row 2 \(the header is row 1\), column 'Q': not among the columns \['q'\]",
        ),
        (
            "q\n1?\n",
            {"question": "q", "answers": ["q"], "correct": 4},
            "row 2 .* describes no Question: .*Mend the row",
        ),
        ("q,r\n1?,2,3\n", {"question": "q"}, "row 2 .*: more cells than columns: is a"),
    ],
)
def test_rows_that_describe_nothing_are_told(
    tmp_path: Path, text: str, fields: dict[str, Any], message: str
) -> None:
    (tmp_path / "q.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        mcq.Question.from_csv(tmp_path / "q.csv", fields)


def test_scores_are_grouped_by_metadata() -> None:
    @chz.chz
    class Subjects(mcq.MCQEval):
        def get_name(self) -> str:
            return "subjects"

        async def get_questions(self) -> list[mcq.Question]:
            return [
                mcq.Question(
                    question="?", answers=["a", "b"], correct_indices={0}, metadata={"subject": one}
                )
                for one in ("maths", "maths", "art")
            ]

    eval = Subjects(solver=mcq.MockSolver(accuracy=1), by=("subject",))
    results = [(t, Attempt(eval.evaluate(t)).result) for t in asyncio.run(eval.get_tasks())]
    groups = asyncio.run(eval.get_summary(results))["by"]["subject"]
    assert {subject: group["n"] for subject, group in groups.items()} == {"art": 1, "maths": 2}
    (match,) = Attempt(eval.evaluate(results[0][0])).recorder.matches
    assert match["metadata"] == {"subject": "maths"}
    results[0][0].question.metadata.clear()
    assert "by" not in asyncio.run(eval.get_summary(results[:1]))  # not those that have it
    with pytest.raises(ConfigError, match=r"by='subjct': no question has it.*they have 'subject'"):
        asyncio.run(chz.replace(eval, by=("subjct",)).get_tasks())
