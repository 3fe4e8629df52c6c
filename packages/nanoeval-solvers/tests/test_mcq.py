"""Multiple-choice evals, from questions to answers."""

from __future__ import annotations

import asyncio
import pickle
import re
from collections.abc import Sequence
from typing import Any

import chz
import pytest
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.recorder import dummy_recorder
from nanoeval_solvers.mcq import Answer, MCQEval, MCQTask, MockSolver, Question, majority

from tests.support.solver_attempts import Kept


@chz.chz
class Capitals(MCQEval):
    n_questions: int = 200

    def get_name(self) -> str:
        return "capitals"

    async def get_questions(self) -> Sequence[Question]:
        return [
            Question(
                id=f"q{n}",
                question=f"Question {n}?",
                answers=["right", "wrong", "false", "bad"],
                correct_indices={0},
            )
            for n in range(self.n_questions)
        ]


async def answers_of(eval: MCQEval) -> dict[str, Answer]:
    with dummy_recorder():
        return {task.name: await eval.evaluate(task) for task in await eval.get_tasks()}


def recorded(question: Question, answer: Answer) -> dict[str, Any]:
    recorder = Kept()
    task = MCQTask(question_id="q", question=question)
    with recorder.as_default_recorder("q", "1.0"):
        Capitals(solver=MockSolver()).record_answer(task, answer)
    return recorder.matches[0]


def test_choices_are_shuffled_the_same_in_every_run() -> None:
    tasks, again, other = (
        asyncio.run(Capitals(solver=MockSolver(), seed=seed).get_tasks()) for seed in (0, 0, 1)
    )  # fmt: skip
    assert [t.question for t in tasks] == [t.question for t in again]
    assert [t.question for t in tasks] != [t.question for t in other]
    places = [next(iter(t.question.correct_indices)) for t in tasks]
    assert {places.count(place) > 20 for place in range(4)} == {True}
    assert all(t.question.choices[place] == "right" for t, place in zip(tasks, places, strict=True))


def test_attempts_at_a_question_see_the_same_order() -> None:
    tasks = asyncio.run(Capitals(solver=MockSolver(), n_consensus=3, n_questions=2).get_tasks())
    assert [task.name for task in tasks] == ["q0.1", "q0.2", "q0.3", "q1.1", "q1.2", "q1.3"]
    assert tasks[0].question == tasks[1].question == tasks[2].question


def test_choices_can_keep_their_order() -> None:
    tasks = asyncio.run(Capitals(solver=MockSolver(), shuffle_choices=False).get_tasks())
    assert {task.question.choices[0] for task in tasks} == {"right"}


def test_the_mock_gives_the_same_answers_for_the_same_seed() -> None:
    one, again, other = (
        asyncio.run(answers_of(Capitals(solver=MockSolver(seed=seed)))) for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other


def test_the_mock_is_as_accurate_as_asked() -> None:
    eval = Capitals(solver=MockSolver(accuracy=0.8, unparsable_rate=0.1), n_questions=2000)
    tasks = asyncio.run(eval.get_tasks())
    answers = asyncio.run(answers_of(eval))
    right = sum(answers[task.name].score(task.question) for task in tasks) / len(tasks)
    assert 0.68 < right < 0.76
    assert 0.07 < sum(a.problem == "unparsable" for a in answers.values()) / len(tasks) < 0.13


def test_the_mock_fails_again_at_each_retry() -> None:
    solver = MockSolver(failure_rate=0.5)
    question = Question(question="?", answers=["a", "b"], correct_indices={0})

    async def outcomes() -> set[bool]:
        seen = set()
        for retry in range(20):
            try:
                await solver.solve(MCQTask(question_id="q", retry_idx=retry, question=question))
                seen.add(True)
            except RolloutSystemError:
                seen.add(False)
        return seen

    with dummy_recorder():
        assert asyncio.run(outcomes()) == {True, False}


@pytest.mark.parametrize("field", ["accuracy", "failure_rate", "unparsable_rate"])
def test_the_mock_refuses_what_is_no_probability(field: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"MockSolver.{field}=1.5: give a number")):
        MockSolver(**{field: 1.5})


def test_an_unparsable_reply_is_incorrect_and_recorded_as_such() -> None:
    question = Question(question="?", answers=["a", "b"], correct_indices={0})
    assert recorded(question, question.answer(None)) == {
        "correct": False,
        "expected": "A",
        "picked": None,
        "prob_correct": None,
        "problem": "unparsable",
        "unparsable": True,
        "question": "?",
        "choices": {"A": "a", "B": "b"},
    }


def test_several_choices_are_one_answer() -> None:
    question = Question(
        question="?",
        answers=list("pqrstu"),
        correct_indices={0, 3},
        allow_multiple_choices=True,
    )
    match = recorded(question, question.answer({3, 0}))
    assert (match["correct"], match["expected"], match["picked"]) == (True, ["A", "D"], ["A", "D"])
    other = recorded(question, question.answer({1, 2}))
    assert (other["correct"], other["picked"]) == (False, ["B", "C"])
    assert question.answer({0}).score(question) == 0  # a part is not the whole
    assert question.answer(set()).score(question) == 0


def test_different_sets_are_different_answers_with_any_number_of_choices() -> None:
    sets = [frozenset({0, 3}), frozenset({1, 2}), frozenset({12}), frozenset({1, 2, 50})]
    assert len(majority(sets)) == 4
    assert majority([*sets, frozenset({2, 1})]) == [frozenset({1, 2})]


def test_a_tie_scores_its_expectation() -> None:
    question = Question(question="?", answers=["a", "b", "c"], correct_indices={0})
    tied = question.answer({0}, tied=(frozenset({0}), frozenset({2})))
    assert tied.score(question) == 0.5
    assert recorded(question, tied)["tied"] == ["A", "C"]


def test_an_answer_is_an_index_or_a_set_and_keeps_what_a_subclass_adds() -> None:
    class Sure(Answer):
        confidence: float = 0.5

    assert Answer(correct=True, picked=2).indices == frozenset({2})
    assert Answer(correct=True, picked={2, 0}).picked == {0, 2}
    assert Answer(correct=False, picked=None).problem == "unparsable"
    kept = pickle.loads(pickle.dumps(Answer(correct=False, picked=None, problem="context_length")))
    assert (kept.picked, kept.problem) == (None, "context_length")
    assert Sure(correct=True, picked=1, confidence=0.9).confidence == 0.9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"correct_indices": {4}}, "correct_indices [4] are outside of the 2 choices"),
        ({"choices": (), "correct_indices": {0}}, "at least 1 item"),
    ],
)
def test_questions_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Question(**{"question": "?", "choices": ("a", "b"), **fields})


def test_questions_take_either_spelling() -> None:
    question = Question(question="?", answers=["a", "b"], correct_indices={1}, images=[])
    assert (question.answers, question.choices) == (["a", "b"], ("a", "b"))
    assert question.correct_indices == {1}
    assert Question.model_validate({"question": "?", "choices": ("a", "b"), "correct": 1}) == (
        question
    )
    assert pickle.loads(pickle.dumps(question)) == question
    with pytest.raises(ValueError, match="choices"):
        Question.model_validate({"question": "?", "choices": "ab", "correct_indices": {1}})


def test_one_of_several_right_choices_is_right_where_one_is_picked() -> None:
    question = Question(question="?", answers=["a", "b", "c"], correct_indices={0, 1})
    assert [question.is_right({index}) for index in range(3)] == [True, True, False]
    assert not Question(question="?", answers=["a"], correct_indices=set()).is_right({0})


def test_self_test_passes() -> None:
    asyncio.run(Capitals(solver=MockSolver()).self_test())


def test_the_summary_counts_what_was_measured() -> None:
    eval = Capitals(solver=MockSolver(accuracy=1, unparsable_rate=0.25), n_questions=400)

    async def summary() -> dict[str, Any]:
        with dummy_recorder():
            return await eval.get_summary(
                [(task, await eval.evaluate(task)) for task in await eval.get_tasks()]
            )

    result = asyncio.run(summary())
    assert result["n"] == 400
    assert result["counts"]["correct"] + result["num_unparsable"] == 400
    assert result["counts"]["unparsable"] == result["num_unparsable"]
    assert result["accuracy"] == result["counts"]["correct"] / 400
    low, high = result["accuracy_ci95"]
    assert low < result["accuracy"] < high
    assert 0 < result["accuracy_stderr"] < 0.03


def test_the_running_summary_says_what_the_summary_will() -> None:
    eval = Capitals(solver=MockSolver(accuracy=0.6, unparsable_rate=0.1), n_consensus=3)

    async def answered() -> list[tuple[MCQTask, Answer]]:
        with dummy_recorder():
            return [(task, await eval.evaluate(task)) for task in await eval.get_tasks()]

    results = asyncio.run(answered())
    running = eval.running_summary()
    assert running is not None
    for task, answer in results:
        running.add(task, answer)
    final, found = asyncio.run(eval.get_summary(results)), running.summary()
    for name in ("n", "accuracy", "accuracy_stderr", "accuracy_ci95", "pass@3", "counts"):
        assert found[name] == pytest.approx(final[name])


def test_a_subclass_with_a_summary_of_its_own_has_no_other_during_the_run() -> None:
    @chz.chz
    class Own(Capitals):
        async def get_summary(self, results: list[tuple[MCQTask, Answer]]) -> dict[str, Any]:
            return {"mine": len(results)}

    assert Own(solver=MockSolver()).running_summary() is None


def test_a_summary_of_nothing_says_nothing() -> None:
    result = asyncio.run(Capitals(solver=MockSolver()).get_summary([]))
    assert "accuracy" not in result
    assert result["n"] == 0
