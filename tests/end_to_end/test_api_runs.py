"""Runs of evals over a real HTTP API, in every kind of executor."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval_core.errors import BudgetExceeded, ConfigError
from nanoeval_core.recorder_protocol import find_recorder
from nanoeval_solvers.api_model import APIModel
from nanoeval_solvers.graders import ModelGrader
from nanoeval_solvers.mcq import MCQEval, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver
from nanoeval_solvers.short_answer import MockSolver, ShortAnswerEval
from nanoeval_solvers.short_answer import Question as ShortQuestion
from nanoeval_solvers.testing import ModelServer, Request, Scripted

KEY = "sk-secret-0123456789abcdef"
RunEval = Callable[..., dict[str, Any]]


@chz.chz
class Colors(MCQEval):
    n_questions: int = 30

    def get_name(self) -> str:
        return "colours"

    async def get_questions(self) -> Sequence[Question]:
        return [
            Question(
                id=f"q{n}",
                question=f"Question {n}?",
                answers=["right", "wrong", "false"],
                correct_indices={0},
            )
            for n in range(self.n_questions)
        ]


@chz.chz
class Words(ShortAnswerEval):
    def get_name(self) -> str:
        return "words"

    async def get_questions(self) -> Sequence[ShortQuestion]:
        return [ShortQuestion(id=f"w{n}", question="?", answers=("yes",)) for n in range(6)]


def always_right(request: Request) -> str:
    letter = next(line[0] for line in request.prompt.splitlines() if line.endswith(") right"))
    return f"Answer: {letter}"


def solver_of(server: ModelServer, **fields: Any) -> OpenAIAPIMCQSolver:
    return OpenAIAPIMCQSolver(model="test-model", base_url=server.url, **fields)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_is_scored_recorded_and_counted(
    model_server: ModelServer,
    run_eval: RunEval,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    model_server.reply = always_right
    model_server.replies.append(Scripted(status=503, text=f"overloaded, says {KEY}"))
    model_server.replies.append("I cannot tell.")
    prices = {"test-model": {"prompt": 1e6, "completion": 0}}
    summary = run_eval(
        Colors(solver=solver_of(model_server, prices=prices)),
        recorder=find_recorder("evallib")(),
        should_backup=True,
    )
    assert summary["accuracy"] == pytest.approx(29 / 30)
    assert summary["num_unparsable"] == 1
    assert summary["usage"]["requests"] == 30
    assert summary["usage"]["retries"] == 1
    assert summary["usage"]["cost"] == summary["usage"]["prompt_tokens"] > 0
    (record,) = (tmp_path / "records").rglob("*.jsonl")
    events = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
    matches = [event["data"] for event in events if event.get("type") == "match"]
    assert len(matches) == 30
    assert sum(match.get("unparsable", False) for match in matches) == 1
    samplings = [event["data"] for event in events if event.get("type") == "sampling"]
    assert len(samplings) == 30
    assert all(sampling["concurrency_limit"] >= 1 for sampling in samplings)
    written = everything_written(tmp_path)
    assert b"overloaded, says [key]" in written
    assert KEY.encode() not in written
    assert KEY not in caplog.text


def test_a_wrong_key_ends_the_run_at_once(model_server: ModelServer, run_eval: RunEval) -> None:
    model_server.api_key = "another"
    with pytest.raises(BaseException, match="ended by an exception") as caught:
        run_eval(Colors(solver=solver_of(model_server), n_questions=3000))
    leaf = first_leaf(caught.value)
    assert isinstance(leaf, ConfigError)
    assert "check the key in the environment variable OPENAI_API_KEY" in str(leaf)
    assert KEY not in str(leaf)
    assert len(model_server.requests) <= 512  # what was in flight when the first refusal came


def test_no_key_ends_the_run_before_any_call(
    run_eval: RunEval, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(BaseException, match=r"ended|no API key") as caught:
        run_eval(Colors(solver=OpenAIAPIMCQSolver(model="m")))
    assert "OPENAI_API_KEY is not set" in str(first_leaf(caught.value))


def test_an_endpoint_that_keeps_failing_leaves_questions_without_a_score(
    model_server: ModelServer, run_eval: RunEval
) -> None:
    def broken_for_some(request: Request) -> str | Scripted:
        if re.search(r"Question 1\d\?", request.prompt):
            return Scripted(status=500, text="The engine fell over.")
        return always_right(request)

    model_server.reply = broken_for_some
    summary = run_eval(
        Colors(solver=solver_of(model_server, max_retries=0)), max_retries=1, retry_backoff=0.0
    )
    assert summary["is_valid"] is False
    assert summary["accuracy"] == 1
    assert summary["n"] == 20
    assert summary["system_errors"]["total"] == 10


def test_a_grader_that_keeps_failing_is_no_wrong_answer(
    model_server: ModelServer, run_eval: RunEval
) -> None:
    model_server.reply = "I would rather not say."
    grader = ModelGrader(model=APIModel(model="judge", base_url=model_server.url))
    summary = run_eval(
        Words(solver=MockSolver(accuracy=1), grader=grader), max_retries=1, retry_backoff=0.0
    )
    assert "accuracy" not in summary
    assert summary["system_errors"]["by_type"] == {"GraderError": 6}
    assert summary["counts"]["grader_error"] == 6


def test_a_rerun_with_a_cache_costs_no_call(
    model_server: ModelServer, run_eval: RunEval, tmp_path: Path
) -> None:
    model_server.reply = always_right
    eval = Colors(solver=solver_of(model_server, cache=str(tmp_path / "cache")), n_consensus=2)
    first, again = run_eval(eval), run_eval(eval)
    assert len(model_server.requests) == 60
    assert first["accuracy"] == again["accuracy"] == 1
    assert again["usage"]["cache_hits"] == 60
    assert again["usage"].get("requests", 0) == 0


def test_a_budget_stops_the_run_and_it_goes_on_from_there(
    model_server: ModelServer, run_eval: RunEval
) -> None:
    model_server.reply = Scripted(
        text="Answer: A", usage={"prompt_tokens": 90, "completion_tokens": 10}, latency=0.01
    )
    eval = Colors(solver=solver_of(model_server), n_questions=60)
    with pytest.raises(BaseException, match="budget") as caught:
        run_eval(eval, run_set_id="budgeted", budget_tokens=2000, concurrency=4)
    assert isinstance(first_leaf(caught.value), BudgetExceeded)
    spent = len(model_server.requests)
    assert 20 <= spent < 40
    summary = run_eval(eval, run_set_id="budgeted", concurrency=4)
    assert summary["n"] == 60
    assert len(model_server.requests) == 60


@pytest.mark.timeout(240)
def test_eight_processes_are_one_polite_client(
    model_server: ModelServer, run_eval: RunEval
) -> None:
    model_server.reply = always_right
    model_server.latency = 0.05
    summary = run_eval(
        Colors(solver=solver_of(model_server, max_concurrency=5), n_questions=120),
        experimental_use_multiprocessing=True,
        num_processes=8,
    )
    assert summary["accuracy"] == 1
    assert summary["n"] == 120
    assert summary["usage"]["requests"] == 120
    assert model_server.most_in_flight == 5


def test_rejected_requests_are_counted_once_and_others_are_scored(
    model_server: ModelServer, run_eval: RunEval
) -> None:
    def picky(request: Request) -> str | Scripted:
        if re.search(r"Question [123]\?", request.prompt):
            return Scripted(status=400, text="this prompt is odd")
        return always_right(request)

    model_server.reply = picky
    summary = run_eval(Colors(solver=solver_of(model_server)))
    assert summary["is_valid"] is False
    assert (summary["accuracy"], summary["n"]) == (1, 27)
    assert summary["system_errors"]["by_type"] == {"RequestRejectedError": 3}
    assert len(model_server.requests) == 30


def test_a_max_tokens_that_no_model_has_ends_the_run(
    model_server: ModelServer, run_eval: RunEval
) -> None:
    model_server.reply = Scripted(
        status=400,
        text="max_tokens is too large: 9000. This model supports at most 4096 completion tokens",
    )
    with pytest.raises(BaseException, match="ended by an exception") as caught:
        run_eval(Colors(solver=solver_of(model_server, max_tokens=9000)))
    leaf = first_leaf(caught.value)
    assert isinstance(leaf, ConfigError)
    assert "max_tokens is too large: 9000" in str(leaf)
