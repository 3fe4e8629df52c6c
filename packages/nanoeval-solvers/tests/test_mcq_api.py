"""Multiple choice over a real HTTP API, served on loopback."""

from __future__ import annotations

import asyncio
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import chz
import pytest
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.recorder import dummy_recorder
from nanoeval_solvers.mcq import Answer, MCQEval, MCQTask, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver
from nanoeval_solvers.testing import ModelServer, Scripted

from tests.support.solver_attempts import Attempt as SolverAttempt

KEY = "sk-secret-0123456789abcdef"
QUESTION = Question(question="What is 2 + 2?", answers=["3", "4", "22"], correct_indices={1})


class Attempt(SolverAttempt[Answer]):
    """One question, asked once."""

    def __init__(self, solver: OpenAIAPIMCQSolver, question: Question = QUESTION) -> None:
        super().__init__(solver.solve(MCQTask(question_id="q", question=question)))

    @property
    def answer(self) -> Answer:
        return self.result


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def solver_of(server: ModelServer, **fields: Any) -> OpenAIAPIMCQSolver:
    return OpenAIAPIMCQSolver(model="test-model", base_url=server.url, **fields)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_question_is_asked_and_answered(model_server: ModelServer, api: Any) -> None:
    model_server.reply = "2 and 2 make 4.\n\n**Answer: (B)**"
    attempt = Attempt(solver_of(model_server, api=api))
    assert (attempt.answer.correct, attempt.answer.picked) == (True, 1)
    assert attempt.answer.read_by == "answer_line"
    (request,) = model_server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["model"] == "test-model"
    assert "What is 2 + 2?\n\nA) 3\nB) 4\nC) 22" in request.prompt
    (sampling,) = attempt.recorder.samplings
    assert sampling["sampled"] == ["2 and 2 make 4.\n\n**Answer: (B)**"]
    assert sampling["model"] == "test-model"
    assert attempt.usage.requests == 1


def test_parameters_are_sent(model_server: ModelServer) -> None:
    Attempt(
        solver_of(
            model_server,
            temperature=0.5,
            top_p=0.9,
            max_tokens=77,
            seed=5,
            system_prompt="Letters: {letters}",
            extra_body={"min_p": 0.1},
        )
    )
    body = model_server.requests[0].body
    sent = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 77, "seed": 5, "min_p": 0.1}
    assert {name: body[name] for name in sent} == sent
    assert body["messages"][0] == {"role": "system", "content": "Letters: A, B, C"}


@chz.chz
class AsksWithAUser(OpenAIAPIMCQSolver):
    def body(self, messages: Any, params: Any, **tools: Any) -> dict[str, Any]:
        return super().body(messages, params, **tools) | {"user": "me"}


def test_a_subclass_may_change_what_is_sent(model_server: ModelServer) -> None:
    Attempt(AsksWithAUser(model="m", base_url=model_server.url))
    assert model_server.requests[0].body["user"] == "me"


def test_reasoning_models_get_their_own_parameters(model_server: ModelServer) -> None:
    Attempt(solver_of(model_server, reasoning_effort="low", max_tokens=50))
    assert model_server.requests[0].body["reasoning_effort"] == "low"
    assert model_server.requests[0].body["max_completion_tokens"] == 50
    Attempt(solver_of(model_server, reasoning_effort="low", max_tokens=50, api="responses"))
    assert model_server.requests[1].body["reasoning"] == {"effort": "low"}
    assert model_server.requests[1].body["max_output_tokens"] == 50


def test_several_letters_are_one_answer(model_server: ModelServer) -> None:
    model_server.reply = "Answer: C, A"
    question = Question(
        question="Which are odd or even?",
        answers=["1", "2", "3"],
        correct_indices={0, 2},
        allow_multiple_choices=True,
    )
    attempt = Attempt(solver_of(model_server), question)
    assert attempt.answer.picked == {0, 2}
    assert "Any number of choices may be correct" in model_server.requests[0].prompt


def test_what_names_no_choice_is_unparsable(model_server: ModelServer) -> None:
    model_server.reply = "It could be A or B."
    answer = Attempt(solver_of(model_server)).answer
    assert (answer.picked, answer.problem, answer.correct) == (None, "unparsable", False)


def test_a_reply_that_was_cut_off_says_so(model_server: ModelServer) -> None:
    model_server.reply = Scripted(text="Let me think about", finish_reason="length")
    answer = Attempt(solver_of(model_server)).answer
    assert (answer.picked, answer.problem, answer.truncated) == (None, "unparsable", True)


def test_reasoning_without_an_answer_is_counted(
    model_server: ModelServer, run_eval: Callable[..., dict[str, Any]]
) -> None:
    class Two(MCQEval):
        def get_name(self) -> str:
            return "two"

        async def get_questions(self) -> list[Question]:
            return [QUESTION.model_copy(update={"id": name}) for name in "ab"]

    thought = Scripted(text="", reasoning="B, I think.", finish_reason="length")
    model_server.reply = lambda request: thought if len(model_server.requests) == 1 else "Answer: A"
    summary = run_eval(chz.chz(Two)(solver=solver_of(model_server)))
    assert (summary["num_only_reasoning"], summary["num_unparsable"]) == (1, 1)


@pytest.mark.parametrize(
    ("scripted", "problem"),
    [
        (
            Scripted(
                status=400, text="maximum context length is 5", code="context_length_exceeded"
            ),
            "context_length",
        ),
        (
            Scripted(status=400, text="the request exceeds the available context size (512)"),
            "context_length",
        ),
        (
            Scripted(status=400, text="The response was filtered", code="content_filter"),
            "content_policy",
        ),
        (Scripted(text="", finish_reason="content_filter"), "content_policy"),
        (Scripted(text=None, refusal="I can't help with that."), "content_policy"),
    ],
)
def test_refusals_are_results(model_server: ModelServer, scripted: Scripted, problem: Any) -> None:
    model_server.reply = scripted
    attempt = Attempt(solver_of(model_server))
    assert attempt.answer == QUESTION.answer(None, problem=problem)
    assert len(model_server.requests) == 1
    assert attempt.recorder.samplings[0]["finish_reason"]


def test_the_answer_can_be_asked_for_as_json(model_server: ModelServer) -> None:
    model_server.reply = '{"reasoning": "A or C? 2 + 2 = 4.", "answer": "B"}'
    attempt = Attempt(solver_of(model_server, structured=True))
    assert attempt.answer.picked == 1
    sent = model_server.requests[0].body["response_format"]["json_schema"]
    assert sent["schema"]["properties"]["answer"]["enum"] == ["A", "B", "C"]
    model_server.reply = '{"reasoning": "", "answer": ["C", "A"]}'
    several = QUESTION.model_copy(update={"allow_multiple_choices": True})
    assert Attempt(solver_of(model_server, structured=True), several).answer.picked == {0, 2}
    Attempt(solver_of(model_server, structured=True, api="responses"), several)
    text = model_server.requests[2].body["text"]["format"]
    assert (text["type"], text["name"], text["strict"]) == ("json_schema", "answer", True)


@pytest.mark.parametrize("reply", ["Answer: B", '{"answer": "D"}', '{"answer": 1}', "[]", '"B"'])
def test_json_that_breaks_the_schema_is_unparsable(model_server: ModelServer, reply: str) -> None:
    model_server.reply = reply
    answer = Attempt(solver_of(model_server, structured=True)).answer
    assert (answer.picked, answer.problem) == (None, "unparsable")


@pytest.mark.parametrize(
    "failure",
    [
        Scripted(status=429, text="slow down"),
        Scripted(status=500, text="oops"),
        Scripted(status=503, text="overloaded", headers={"Retry-After": "0"}),
        Scripted(fault="disconnect"),
        Scripted(fault="truncate"),
        Scripted(fault="garbage"),
    ],
)
def test_what_may_pass_is_tried_again(model_server: ModelServer, failure: Scripted) -> None:
    model_server.replies.append(failure)
    model_server.reply = "Answer: B"
    attempt = Attempt(solver_of(model_server))
    assert attempt.answer.picked == 1
    assert len(model_server.requests) == 2
    assert attempt.usage.retries == 1
    (retry,) = attempt.recorder.extras
    assert retry["retry"] == 1
    assert retry["reason"]
    if failure.status >= 400:
        assert (retry["status"], retry["reason"]) == (failure.status, failure.text)


def test_a_timeout_is_tried_again(model_server: ModelServer) -> None:
    model_server.replies.append(Scripted(fault="hang"))
    attempt = Attempt(solver_of(model_server, timeout=0.1))
    assert attempt.answer.picked == 0
    assert "no reply within 0.1 s" in attempt.recorder.extras[0]["reason"]


def test_what_does_not_pass_is_a_system_error_in_the_endpoints_words(
    model_server: ModelServer,
) -> None:
    model_server.reply = Scripted(status=500, text="The engine fell over.")
    with pytest.raises(RolloutSystemError, match=re.escape("HTTP status 500: The engine fell")):
        Attempt(solver_of(model_server, max_retries=1))
    assert len(model_server.requests) == 2


@pytest.mark.parametrize(
    ("scripted", "message"),
    [
        (Scripted(status=307, text="moved"), "check `base_url`: the endpoint is somewhere else"),
        (Scripted(status=401, text="bad key"), "check the key in the environment variable OPENAI_"),
        (Scripted(status=403, text="not yours"), "may use"),
        (Scripted(status=404, text="no such model"), "check `model` and `base_url`"),
        (Scripted(status=400, text="unknown parameter"), "check the solver's arguments"),
        (Scripted(status=429, text="no money", code="insufficient_quota"), "plan and billing"),
    ],
)
def test_what_never_works_ends_the_run(
    model_server: ModelServer, scripted: Scripted, message: str
) -> None:
    model_server.reply = scripted
    with pytest.raises(ConfigError) as caught:
        Attempt(solver_of(model_server))
    assert not isinstance(caught.value, RolloutSystemError)
    assert message in str(caught.value)
    assert scripted.text is not None
    assert scripted.text in str(caught.value)
    assert model_server.url in str(caught.value)
    assert len(model_server.requests) == 1


def test_the_cause_is_the_sdks_own_exception(model_server: ModelServer) -> None:
    import openai

    model_server.reply = Scripted(status=401, text="bad key")
    with pytest.raises(ConfigError) as caught:
        Attempt(solver_of(model_server))
    cause = caught.value.__cause__
    assert isinstance(cause, openai.AuthenticationError)
    assert cause.status_code == 401
    assert KEY not in str(dict(cause.request.headers))


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with ModelServer() as server:
        url = server.url
    with pytest.raises(ConfigError, match="cannot be reached: cannot connect") as caught:
        Attempt(OpenAIAPIMCQSolver(model="m", base_url=url))
    assert url in str(caught.value)


def test_no_key_is_told_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="the environment variable OPENAI_API_KEY is not set"):
        Attempt(OpenAIAPIMCQSolver(model="m"))


def test_the_key_stays_secret(model_server: ModelServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    model_server.api_key = "another"
    solver = solver_of(model_server)
    with pytest.raises(ConfigError) as caught:
        Attempt(solver)
    assert KEY not in str(caught.value)
    assert "Incorrect API key provided: [key]" in str(caught.value)
    assert KEY not in repr(caught.value.__cause__)
    model_server.api_key = None
    model_server.replies.append(Scripted(status=500, text=f"no luck with {KEY}"))
    attempt = Attempt(solver)
    recorded = f"{attempt.recorder.samplings} {attempt.recorder.extras}"
    assert "no luck with [key]" in recorded
    assert KEY not in recorded
    assert KEY not in caplog.text
    assert KEY.encode() not in pickle.dumps(solver)
    assert KEY not in repr(solver)


def test_a_key_is_never_a_field() -> None:
    with pytest.raises(ConfigError, match="is no name of an environment variable") as caught:
        OpenAIAPIMCQSolver(model="m", api_key_env=KEY)
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigError, match="base_url holds a user or a password") as caught:
        OpenAIAPIMCQSolver(model="m", base_url="http://me:hunter2@example.com/v1")
    assert "hunter2" not in str(caught.value)


def test_usage_and_cost_are_counted(model_server: ModelServer) -> None:
    model_server.reply = Scripted(
        text="Answer: B",
        usage={
            "prompt_tokens": 1000,
            "completion_tokens": 500,
            "prompt_tokens_details": {"cached_tokens": 400},
            "completion_tokens_details": {"reasoning_tokens": 100},
        },
    )
    prices = {"test-model": {"prompt": 2.0, "cached": 1.0, "completion": 10.0}}
    usage = Attempt(solver_of(model_server, prices=prices)).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (1000, 500)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (400, 100)
    assert usage.cost == pytest.approx((600 * 2 + 400 * 1 + 500 * 10) / 1e6)


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({}, "no entry for model 'm': it has "),
        ({"m": {"prompt": 1}}, "lacks 'completion'"),
        ({"m": {"prompt": 1, "completion": -1}}, "['completion']=-1: give a number"),
        ({"m": {"prompt": 1, "output": 1}}, "'output', which is none of"),
        ("/nowhere/prices.json", "cannot be read"),
    ],
)
def test_price_tables_are_checked(prices: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        OpenAIAPIMCQSolver(model="m", base_url="http://x/v1", prices=prices)


def test_a_rerun_costs_no_call(model_server: ModelServer, tmp_path: Any) -> None:
    model_server.reply = "Answer: B"
    solver = solver_of(model_server, cache=str(tmp_path))
    first, again = Attempt(solver), Attempt(solver)
    assert first.answer == again.answer
    assert len(model_server.requests) == 1
    assert (again.usage.cache_hits, again.usage.requests, again.usage.total_tokens) == (1, 0, 0)
    assert again.recorder.samplings[0]["cached"] is True
    assert "cached" not in first.recorder.samplings[0]
    Attempt(solver_of(model_server, cache=str(tmp_path), temperature=0.1))
    assert len(model_server.requests) == 2


def test_samples_of_one_question_are_never_one_from_the_cache(
    model_server: ModelServer, tmp_path: Any
) -> None:
    solver = solver_of(model_server, cache=str(tmp_path))

    async def ask(attempt: int, retry: int = 0) -> None:
        task = MCQTask(question_id="q", attempt_id=attempt, retry_idx=retry, question=QUESTION)
        with dummy_recorder():
            await solver.solve(task)

    for attempt, retry in ((1, 0), (2, 0), (1, 1)):
        asyncio.run(ask(attempt, retry))
    assert len(model_server.requests) == 2


def test_images_are_shown(model_server: ModelServer, tmp_path: Any) -> None:
    image = tmp_path / "plot.png"
    image.write_bytes(b"\x89PNG")
    question = QUESTION.model_copy(update={"images": (str(image), "https://example.com/a.jpg")})
    attempt = Attempt(solver_of(model_server), question)
    parts = model_server.requests[0].body["messages"][0]["content"]
    assert parts[0]["image_url"]["url"] == "data:image/png;base64,iVBORw=="
    assert parts[1]["image_url"]["url"] == "https://example.com/a.jpg"
    assert "iVBORw" not in str(attempt.recorder.samplings)
    Attempt(solver_of(model_server, api="responses"), question)
    parts = model_server.requests[1].body["input"][0]["content"]
    assert [part["type"] for part in parts] == ["input_image", "input_image", "input_text"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user_prompt": "{question} {nothing}"}, "user_prompt uses {nothing}, which is not one"),
        ({"user_prompt": "hello"}, "user_prompt must use {question}"),
        ({"user_prompt": "{question"}, "user_prompt: expected '}'"),
        ({"model": ""}, "model is empty"),
        ({"base_url": "localhost:80"}, "it must begin with http"),
        ({"api": "completions"}, "api='completions': give 'chat' or 'responses'"),
        ({"timeout": 0}, "timeout=0: give seconds"),
        ({"requests_per_minute": 0}, "requests_per_minute=0: give more than 0"),
        ({"api": "responses", "seed": 1}, "the responses API takes no seed"),
    ],
)
def test_arguments_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        OpenAIAPIMCQSolver(**{"model": "m", "base_url": "http://x/v1", **fields})


SCRIPT = """
import asyncio, sys
from pathlib import Path
from nanoeval_core.recorder import dummy_recorder
from nanoeval_core.run_context import RunContext, current_run_context
from nanoeval_solvers.mcq import MCQTask, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver

url, folder = sys.argv[1:]

async def main():
    current_run_context.set(RunContext(run_set_id="r", shared_dir=Path(folder), executor="main"))
    question = Question(question="?", answers=["a", "b"], correct_indices={0})
    with dummy_recorder():
        solver = OpenAIAPIMCQSolver(model="m", base_url=url)
        return await solver.solve(MCQTask(question_id="q", question=question))

assert asyncio.run(main()).picked == 0
print("openai" in sys.modules)
"""


def test_one_process_loads_the_sdk_for_all_that_follow(
    model_server: ModelServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", SCRIPT, model_server.url, str(tmp_path)]
    monkeypatch.setenv("NANOEVAL_CACHE_DIR", str(tmp_path))
    loaded = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert loaded == ["True", "False"]
    first, second = model_server.requests
    assert first.headers == second.headers
    assert first.headers["authorization"] == f"Bearer {KEY}"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".json" for path in files)
    assert all(KEY.encode() not in path.read_bytes() for path in files)


def test_many_calls_that_fail_at_once_are_told_apart(model_server: ModelServer) -> None:
    model_server.api_key = "another"
    solver = solver_of(model_server)

    async def all_at_once() -> list[BaseException | Answer]:
        with dummy_recorder():
            async with solver:
                return await asyncio.gather(
                    *(
                        solver.solve(MCQTask(question_id=f"q{n}", question=QUESTION))
                        for n in range(30)
                    ),
                    return_exceptions=True,
                )

    errors = asyncio.run(all_at_once())
    assert {type(error) for error in errors} == {ConfigError}
    causes = {type(error.__cause__).__name__ for error in errors if isinstance(error, ConfigError)}
    assert causes == {"AuthenticationError"}
