"""The majority of several samples."""

from __future__ import annotations

import threading

import pytest
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_solvers.consensus import ConsensusSolver, consensus_of
from nanoeval_solvers.mcq import Answer, MCQTask, MockSolver, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from tests.support.solver_attempts import Attempt

QUESTION = Question(question="?", answers=["p", "q", "r", "s"], correct_indices={1})


def solve(server: ModelServer, n: int, attempt: int = 1) -> Attempt[Answer]:
    solver = ConsensusSolver(
        solver=OpenAIAPIMCQSolver(model="m", base_url=server.url, seed=100, max_retries=0), n=n
    )
    return Attempt(solver.solve(MCQTask(question_id="q", attempt_id=attempt, question=QUESTION)))


def test_the_majority_wins(model_server: ModelServer) -> None:
    model_server.replies.extend(f"Answer: {letter}" for letter in "BABCB")
    attempt = solve(model_server, 5)
    assert attempt.result.picked == 1
    assert attempt.usage.requests == 5
    assert len(attempt.recorder.samplings) == 5


def test_samples_of_a_question_run_at_once(model_server: ModelServer) -> None:
    together = threading.Semaphore(0)

    def wait_for_all(request: Request) -> Scripted:
        together.release()
        return Scripted(text="Answer: B", latency=0.3)

    model_server.reply = wait_for_all
    solve(model_server, 4)
    assert model_server.most_in_flight == 4


def test_samples_have_seeds_of_their_own(model_server: ModelServer) -> None:
    solve(model_server, 3, attempt=1)
    solve(model_server, 3, attempt=2)
    assert sorted(request.body["seed"] for request in model_server.requests) == [
        100,
        101,
        102,
        103,
        104,
        105,
    ]


def test_a_tie_is_scored_in_expectation_and_shown_the_same_each_time() -> None:
    answers = [QUESTION.answer({i}) for i in (0, 1, 1, 0, 2)]
    first, again = (consensus_of(answers, QUESTION, seed="q.1") for _ in range(2))
    assert first == again
    assert first.score(QUESTION) == 0.5
    assert first.picked in (0, 1)


def test_sets_that_differ_do_not_add_up() -> None:
    sets = [{0, 3}, {1, 2}, {0, 3}, {3}, {1, 2}, {0, 3}]
    several = QUESTION.model_copy(update={"allow_multiple_choices": True})
    answers = [several.answer(one) for one in sets]
    assert consensus_of(answers, several, seed="").picked == {0, 3}


def test_unparsable_replies_have_no_vote() -> None:
    none, b = QUESTION.answer(None), QUESTION.answer({1})
    answer = consensus_of([none, none, b], QUESTION, seed="")
    assert (answer.picked, answer.num_unparsable_samples) == (1, 2)
    nothing = consensus_of([none, none], QUESTION, seed="")
    assert (nothing.picked, nothing.problem) == (None, "unparsable")
    refusal = QUESTION.answer(None, problem="content_policy")
    refused = consensus_of([refusal] * 2, QUESTION, seed="")
    assert refused.problem == "content_policy"


def test_a_failure_of_one_sample_is_a_failure_of_the_system(model_server: ModelServer) -> None:
    model_server.replies.extend(["Answer: B", Scripted(status=500, text="broken")])
    with pytest.raises(RolloutSystemError, match="broken"):
        solve(model_server, 3)


def test_a_consensus_of_mocks_beats_one() -> None:
    single = MockSolver(accuracy=0.6)
    tasks = [MCQTask(question_id=f"q{n}", question=QUESTION) for n in range(300)]
    alone = sum(Attempt(single.solve(t)).result.score(QUESTION) for t in tasks)
    many = ConsensusSolver(solver=single, n=7)
    together = sum(Attempt(many.solve(t)).result.score(QUESTION) for t in tasks)
    assert alone < 0.7 * 300 < 0.75 * 300 < together


def test_n_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"ConsensusSolver\.n=0: give 1 or more"):
        ConsensusSolver(solver=MockSolver(), n=0)
