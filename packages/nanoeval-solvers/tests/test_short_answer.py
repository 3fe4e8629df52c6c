"""Short-answer evals, from questions to verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import chz
import pytest
from nanoeval_core.recorder import dummy_recorder
from nanoeval_solvers.api_model import APIModel
from nanoeval_solvers.graders import MockGrader, ModelGrader, NumericMatch
from nanoeval_solvers.short_answer import (
    MockSolver,
    Question,
    ShortAnswerEval,
    ShortAnswerTask,
)
from nanoeval_solvers.short_answer_api import OpenAIAPIShortAnswerSolver, answer_in
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from tests.support.solver_attempts import Attempt


@chz.chz
class Sums(ShortAnswerEval):
    n_questions: int = 50

    def get_name(self) -> str:
        return "sums"

    async def get_questions(self) -> Sequence[Question]:
        return [
            Question(id=f"{n}+1", question=f"What is {n} + 1?", answers=(str(n + 1),))
            for n in range(self.n_questions)
        ]


def summary_of(eval: ShortAnswerEval) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        with dummy_recorder():
            tasks = await eval.get_tasks()
            return await eval.get_summary([(task, await eval.evaluate(task)) for task in tasks])

    return asyncio.run(run())


def test_the_running_summary_says_what_the_summary_will() -> None:
    eval = Sums(solver=MockSolver(accuracy=0.7))

    async def answered() -> list[Any]:
        with dummy_recorder():
            return [(task, await eval.evaluate(task)) for task in await eval.get_tasks()]

    results = asyncio.run(answered())
    running = eval.running_summary()
    assert running is not None
    for task, answer in results:
        running.add(task, answer)
    final, found = asyncio.run(eval.get_summary(results)), running.summary()
    for name in ("n", "accuracy", "accuracy_stderr", "accuracy_ci95", "counts"):
        assert found[name] == pytest.approx(final[name])


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Answer: 42", "42"),
        ("**Answer:** 42", "42"),
        ("**Answer: 42**", "42"),
        ("It is so.\n\nFinal answer: 42 km", "42 km"),
        ("Answer: 41\nNo.\nAnswer: 42", "42"),
        ("The answer is 42", "42"),
        ("答案：42", "42"),
        (r"Thus \boxed{42}.", "42"),
        (r"Answer: $\boxed{42}$", "42"),
        (r"So it is $\boxed{\frac{\sqrt{2}}{3}}$ in all.", r"\frac{\sqrt{2}}{3}"),
        ("Paris", "Paris"),
        ("<think>Answer: 41</think>Answer: 42", "42"),
        ("<think>Answer: 41", None),
        ("Let me see.\nThere is more to say.", None),
        ("Answer:", None),
        ("Answer:\n42", "42"),
        ("Answers vary", "Answers vary"),
        ("", None),
    ],
)
def test_the_answer_of_a_reply(reply: str, answer: str | None) -> None:
    assert answer_in(reply) == answer


def test_a_question_is_asked_answered_and_graded(model_server: ModelServer) -> None:
    model_server.reply = "1 + 1 = 2.\nAnswer: 2.0"
    eval = Sums(
        solver=OpenAIAPIShortAnswerSolver(model="m", base_url=model_server.url),
        grader=NumericMatch(),
    )
    task = ShortAnswerTask(question_id="q", question=Question(question="1 + 1?", answers=("2",)))
    attempt = Attempt(eval.evaluate(task))
    assert attempt.result.correct
    (match,) = attempt.recorder.matches
    assert (match["correct"], match["expected"], match["picked"]) == (True, "2", "2.0")
    assert match["number"] == 2.0
    assert len(attempt.recorder.samplings) == 1


def test_what_states_no_answer_is_unparsable(model_server: ModelServer) -> None:
    model_server.reply = "I wonder.\nI really do."
    eval = Sums(solver=OpenAIAPIShortAnswerSolver(model="m", base_url=model_server.url))
    task = ShortAnswerTask(question_id="q", question=Question(question="1 + 1?", answers=("2",)))
    attempt = Attempt(eval.evaluate(task))
    assert attempt.result.problem == "unparsable"
    assert attempt.recorder.matches[0]["unparsable"] is True
    assert attempt.recorder.matches[0]["correct"] is False


def test_the_answer_can_be_asked_for_as_json(model_server: ModelServer) -> None:
    solver = OpenAIAPIShortAnswerSolver(model="m", base_url=model_server.url, structured=True)
    task = ShortAnswerTask(question_id="q", question=Question(question="1 + 1?", answers=("2",)))
    model_server.reply = '{"reasoning": "", "answer": "2"}'
    assert Attempt(solver.solve(task)).result.text == "2"
    model_server.reply = "Answer: 2"
    assert Attempt(solver.solve(task)).result.problem == "unparsable"


def test_refusals_are_results(model_server: ModelServer) -> None:
    model_server.reply = Scripted(status=400, text="too long", code="context_length_exceeded")
    eval = Sums(
        solver=OpenAIAPIShortAnswerSolver(model="m", base_url=model_server.url), n_questions=2
    )
    summary = summary_of(eval)
    assert (summary["accuracy"], summary["num_context_length"]) == (0, 2)
    assert summary["counts"]["refused"] == 2


def test_the_summary_of_a_mock() -> None:
    summary = summary_of(Sums(solver=MockSolver(accuracy=0.5, unparsable_rate=0.2), n_consensus=4))
    assert summary["n"] == 50
    assert summary["num_attempts"] == 200
    assert 0.25 < summary["accuracy"] < 0.55
    assert summary["accuracy"] < summary["pass@4"]
    assert summary["num_unparsable"] > 20
    assert 0 <= summary["cons@4"] <= 1


def test_agreement_with_exact_match_is_reported(model_server: ModelServer) -> None:
    def lenient(request: Request) -> str:
        return "Verdict: CORRECT" if request.body["model"] == "judge" else "Answer: 1"

    model_server.reply = lenient
    summary = summary_of(
        Sums(
            solver=OpenAIAPIShortAnswerSolver(model="m", base_url=model_server.url),
            grader=ModelGrader(model=APIModel(model="judge", base_url=model_server.url)),
            n_questions=4,
        )
    )
    assert summary["accuracy"] == 1
    assert summary["grader_exact_agreement"] == 0.25


def test_a_grader_that_contradicts_itself_leaves_no_consensus() -> None:
    summary = summary_of(
        Sums(solver=MockSolver(accuracy=1), grader=MockGrader(agreement=0.5), n_consensus=4)
    )
    assert "cons@4" not in summary
    assert "different verdicts" in summary["unavailable"]["cons@k"]
    assert "pass@4" in summary


def test_self_test_passes() -> None:
    asyncio.run(Sums(solver=MockSolver()).self_test())
