"""The fixtures, as somebody else's tests use them."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chz
import openai
import pytest
from nanoeval_solvers.mcq import MCQEval, MockSolver, Question
from nanoeval_solvers.testing import ModelServer, Scripted


@chz.chz
class Small(MCQEval):
    def get_name(self) -> str:
        return "small"

    async def get_questions(self) -> list[Question]:
        return [
            Question(question=f"{n}?", answers=["a", "b"], correct_indices={0}) for n in range(20)
        ]


def test_run_eval_runs_an_eval(run_eval: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    summary = run_eval(Small(solver=MockSolver(accuracy=1)), n_tasks=7)
    assert (summary["n"], summary["accuracy"]) == (7, 1)
    assert {path.name for path in tmp_path.iterdir()} <= {"state", "records", "backups"}


def test_the_server_speaks_to_the_sdk(model_server: ModelServer) -> None:
    """The SDK's own client, with its strict validation, takes what the server sends."""
    client = openai.OpenAI(
        base_url=model_server.url,
        api_key="k",
        max_retries=0,
        _strict_response_validation=True,
    )
    with client:
        chat = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi there"}]
        )
        assert chat.choices[0].message.content == "Answer: A"
        assert chat.usage is not None
        assert chat.usage.prompt_tokens == 2
        response = client.responses.create(model="m", input="hi")
        assert response.output_text == "Answer: A"
        model_server.replies.append(Scripted(status=429, text="slow down", code="rate"))
        with pytest.raises(openai.RateLimitError, match="slow down"):
            client.responses.create(model="m", input="hi")
        model_server.replies.append(Scripted(fault="truncate"))
        with pytest.raises(openai.APIConnectionError):
            client.responses.create(model="m", input="hi")
    assert [request.path for request in model_server.requests][:2] == [
        "/v1/chat/completions",
        "/v1/responses",
    ]
    assert model_server.requests[0].headers["authorization"] == "Bearer k"


def test_the_server_limits_what_it_serves(model_server: ModelServer) -> None:
    model_server.rate_limit = 2
    model_server.refusal_headers = {"Retry-After": "1"}
    answers = []
    for _ in range(4):
        request = urllib.request.Request(f"{model_server.url}/chat/completions", data=b"{}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request) as reply:
                answers.append((reply.status, None))
        except urllib.error.HTTPError as error:
            answers.append((error.code, error.headers["Retry-After"]))
            error.close()
    assert answers == [(200, None), (200, None), (429, "1"), (429, "1")]
    assert (model_server.served, model_server.refused) == (2, 2)


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    script = "import nanoeval_solvers._pytest_plugin, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {"openai", "aiohttp", "pydantic", "chz", "nanoeval_core", "nanoeval_solvers.testing"}
    assert not heavy & set(done.stdout.split())
