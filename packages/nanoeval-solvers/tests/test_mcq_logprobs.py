"""Log probabilities of letters, from a real HTTP API on loopback."""

from __future__ import annotations

import math
import re
from typing import Any

import chz
import pytest
from nanoeval_core.errors import ConfigError
from nanoeval_solvers.mcq import Answer, MCQEval, MCQTask, Question
from nanoeval_solvers.mcq_logprobs import (
    MCQLogprobSolver,
    MockLogprobSolver,
    choice_probabilities,
)
from nanoeval_solvers.reply import TokenLogprobs
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from tests.support.solver_attempts import Attempt


@chz.chz
class Known(MCQEval):
    """Ten questions, of which seven have A as the answer."""

    def get_name(self) -> str:
        return "known"

    async def get_questions(self) -> list[Question]:
        answers = [0] * 7 + [1, 1, 2]
        return [
            Question(question=f"{i}?", answers=["x", "y", "z"], correct_indices={answer})
            for i, answer in enumerate(answers)
        ]


LETTERS = ("A", "B", "C")
QUESTION = Question(question="What is 2 + 2?", answers=["3", "4", "22"], correct_indices={1})


def token(**top: float) -> TokenLogprobs:
    pairs = tuple((text, math.log(p)) for text, p in top.items())
    return TokenLogprobs(pairs[0][0], pairs[0][1], pairs)


def logs(top: dict[str, float]) -> tuple[dict[str, float], ...]:
    return ({text: math.log(p) for text, p in top.items()},)


def ask(server: ModelServer, question: Question = QUESTION, **fields: Any) -> Attempt[Answer]:
    solver = MCQLogprobSolver(model="m", base_url=server.url, **fields)
    return Attempt(solver.solve(MCQTask(question_id="q", question=question)))


def test_all_spellings_of_a_letter_count() -> None:
    top = {
        "A": 0.1,
        " A": 0.1,
        "ĠB": 0.05,
        "▁B": 0.05,
        "(B": 0.1,
        "**B": 0.1,
        "The": 0.4,
        "a": 0.05,
    }
    found = choice_probabilities(token(**top), LETTERS)
    assert found is not None
    assert found.of == pytest.approx((0.25 / 0.55, 0.3 / 0.55, 0.0))
    assert found.letter_mass == pytest.approx(0.55)


@pytest.mark.parametrize(
    "spelling", ["b", " b", "Ｂ", "（Ｂ", "(b)", "B.", "**B**", "B\n", "【B", "$B"]
)
def test_a_letter_counts_in_any_case_width_and_punctuation(spelling: str) -> None:
    found = choice_probabilities(token(**{spelling: 0.6, "A": 0.3, "Bo": 0.1}), LETTERS)
    assert found is not None
    assert found.of == pytest.approx((1 / 3, 2 / 3, 0.0))


def test_what_is_unseen_is_bounded() -> None:
    seen = choice_probabilities(token(A=0.5, B=0.3, C=0.2), LETTERS)
    assert seen is not None
    assert seen.error == pytest.approx(0, abs=1e-9)
    # C may have as much as the least token that is shown, but no more than what is left.
    partly = choice_probabilities(token(A=0.5, B=0.3, x=0.1), LETTERS)
    assert partly is not None
    assert partly.error == pytest.approx(0.1 / 0.9)
    little = choice_probabilities(token(A=0.5, B=0.3, x=0.19), LETTERS)
    assert little is not None
    assert little.error == pytest.approx(0.01 / 0.81)
    assert choice_probabilities(token(x=0.9, y=0.05), LETTERS) is None


def test_one_token_is_asked_for(model_server: ModelServer) -> None:
    top = {"B": 0.6, " B": 0.1, "A": 0.2, "C": 0.1}
    model_server.reply = Scripted(text="B", top_logprobs=logs(top))
    attempt = ask(model_server)
    assert attempt.result.picked == 1
    assert attempt.result.prob_correct == pytest.approx(0.7)
    body = model_server.requests[0].body
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
    recorded = attempt.recorder.samplings[0]["letter_probabilities"]
    assert recorded["B"] == pytest.approx(0.7)


def test_a_number_that_could_be_far_off_is_not_given(model_server: ModelServer) -> None:
    top = {"A": 0.3, "x": 0.2, "y": 0.2}
    model_server.reply = Scripted(text="A", top_logprobs=logs(top))
    answer = ask(model_server).result
    assert (answer.picked, answer.prob_correct) == (0, None)
    assert ask(model_server, max_error=1.0).result.prob_correct == 0


def test_a_solver_that_knows_what_it_knows_is_calibrated(
    model_server: ModelServer, run_eval: Any
) -> None:
    # Sure of A by 0.7, which is right for 7 of 10 questions.
    model_server.reply = Scripted(text="A", top_logprobs=logs({"A": 0.7, "B": 0.2, "C": 0.1}))
    solver = MCQLogprobSolver(model="m", base_url=model_server.url)
    summary = run_eval(Known(solver=solver, shuffle_choices=False))
    assert summary["ece"] == pytest.approx(0, abs=1e-9)
    assert summary["brier"] == pytest.approx(0.7 * 0.09 + 0.3 * 0.49)
    assert summary["prob_correct"] == pytest.approx((7 * 0.7 + 2 * 0.2 + 0.1) / 10)
    assert summary["calibration_n"] == 10


def test_more_choices_than_letters_are_refused(model_server: ModelServer) -> None:
    model_server.reply = Scripted(text="A", top_logprobs=logs({"A": 0.9, "B": 0.05}))
    choices = tuple(str(i) for i in range(27))
    question = Question(question="Which?", answers=list(choices), correct_indices={0})
    with pytest.raises(ConfigError, match="has 27 choices: from the 27th on"):
        ask(model_server, question)
    assert not model_server.requests


def test_no_letter_is_unparsable(model_server: ModelServer) -> None:
    top = {"The": 0.6, "I": 0.3, "It": 0.05}
    model_server.reply = Scripted(text="The", top_logprobs=logs(top))
    answer = ask(model_server).result
    assert (answer.picked, answer.problem) == (None, "unparsable")


def test_a_model_that_hardly_thinks_of_letters_abstains(
    model_server: ModelServer, run_eval: Any
) -> None:
    top = {"The": 0.8, "I": 0.12, "A": 0.06, "B": 0.01, "C": 0.01}
    model_server.reply = Scripted(text="The", top_logprobs=logs(top))
    attempt = ask(model_server)
    assert (attempt.result.picked, attempt.result.problem) == (None, "unparsable")
    assert attempt.recorder.samplings[0]["letter_mass"] == pytest.approx(0.08)
    assert ask(model_server, min_letter_mass=0.05).result.picked == 0
    solver = MCQLogprobSolver(model="m", base_url=model_server.url)
    summary = run_eval(Known(solver=solver, shuffle_choices=False))
    assert (summary["accuracy"], summary["num_unparsable"]) == (0, 10)
    with pytest.raises(ConfigError, match=re.escape("min_letter_mass=2.0: give a number from 0")):
        ask(model_server, min_letter_mass=2.0)


@pytest.mark.parametrize(
    ("top", "message"),
    [
        (None, "gives model 'm' no log probabilities: use OpenAIAPIMCQSolver"),
        (logs({"A": 0.9}), "gives model 'm' 1 log probabilities of the 20 asked for, too few"),
    ],
)
def test_endpoints_without_enough_logprobs_are_told(
    model_server: ModelServer, top: Any, message: str
) -> None:
    model_server.reply = Scripted(text="A", top_logprobs=top)
    with pytest.raises(ConfigError, match=re.escape(message)):
        ask(model_server)


def test_cyclic_orders_cancel_a_bias(model_server: ModelServer) -> None:
    """A model that likes the first place, and the right choice a little."""

    def biased(request: Request) -> Scripted:
        places = [
            line.partition(") ")[2] for line in request.prompt.splitlines() if ") " in line[:4]
        ]
        weights = {
            letter: (3.0 if place == 0 else 1.0) * (2.0 if text == "4" else 1.0)
            for place, (letter, text) in enumerate(zip(LETTERS, places, strict=True))
        }
        total = sum(weights.values())
        return Scripted(text="", top_logprobs=logs({k: w / total for k, w in weights.items()}))

    model_server.reply = biased
    assert ask(model_server).result.picked == 0
    cyclic = ask(model_server, cyclic=True)
    assert cyclic.result.picked == 1
    assert cyclic.usage.requests == 3
    assert len({request.prompt for request in model_server.requests}) == 3
    expected = (2 / 6 + 6 / 8 + 2 / 6) / 3
    assert cyclic.result.prob_correct == pytest.approx(expected)


def test_equal_probabilities_tie(model_server: ModelServer) -> None:
    top = {"A": 0.4, "B": 0.4, "C": 0.2}
    model_server.reply = Scripted(text="A", top_logprobs=logs(top))
    answer = ask(model_server).result
    assert answer.score(QUESTION) == 0.5
    assert answer.picked in (0, 1)


def test_questions_with_several_answers_are_refused(model_server: ModelServer) -> None:
    several = QUESTION.model_copy(update={"allow_multiple_choices": True})
    with pytest.raises(ConfigError, match="question 'q', which allows multiple choices"):
        ask(model_server, several)


def test_the_mock_is_as_accurate_as_asked() -> None:
    solver = MockLogprobSolver(accuracy=0.7)
    answers = [
        Attempt(solver.solve(MCQTask(question_id=f"q{n}", question=QUESTION))).result
        for n in range(300)
    ]
    assert 0.6 < sum(answer.score(QUESTION) for answer in answers) / 300 < 0.8
    assert all(
        (a.prob_correct or 0) > 1 / 3 if a.picked == 1 else (a.prob_correct or 0) < 0.5
        for a in answers
    )
