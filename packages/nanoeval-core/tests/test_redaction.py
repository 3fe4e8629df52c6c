"""Secrets stay out of the description of a run, by the name of a field and by value."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from nanoeval_core.redaction import REDACTED, Redactor, is_secret_name, secret_values


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "OPENAI_API_KEY", "hf_token", "TOKEN", "password", "db_password",
     "X-Api-Key", "openai_key", "ssh_key", "signingKey", "DB_PASS", "db_pwd", "GITHUB_PAT",
     "client_secret", "Authorization", "private_key", "access_key", "aws.secret.access_key"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "budget_tokens", "tokenizer", "author", "keyboard", "monkey", "model",
     "num_tokens_per_minute", "api_key_env", "secretary", "PWD", "OLDPWD", "authors",
     "answer_key", "sort_key", "key", "pass_k", "first_pass", "pattern", "path"],
)  # fmt: skip
def test_names_that_only_look_like_it(name: str) -> None:
    assert not is_secret_name(name)


def test_values_of_environment_variables_are_found_anywhere() -> None:
    redactor = Redactor({"MY_API_KEY": "abc123xyz", "OTHER": "public-value", "X_TOKEN": "a"})
    value = {
        "args": ["--k", "abc123xyz"],
        "deep": {"url": "http://h/?q=abc123xyz"},
        "o": "public-value",
    }
    assert redactor.value(value) == {
        "args": ["--k", REDACTED],
        "deep": {"url": f"http://h/?q={REDACTED}"},
        "o": "public-value",
    }


def test_a_short_value_or_a_path_is_no_secret() -> None:
    environ = {"A_TOKEN": "on", "SSH_AUTH_SOCK": "/", "B_TOKEN": "long-enough"}
    assert secret_values(environ) == ["long-enough"]


def test_a_command_line_is_redacted_by_its_arguments() -> None:
    arguments = ["run.py", "--password=two words", "eval.api_key=it's", "--token", "a b", "n=3"]
    command = Redactor({}).command(arguments)
    assert shlex.split(command) == [
        "run.py", f"--password={REDACTED}", f"eval.api_key={REDACTED}", "--token", REDACTED, "n=3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"api_key": "k", "n": 1}, {"api_key": REDACTED, "n": 1}),
        ({"solver.api_key": "k"}, {"solver.api_key": REDACTED}),
        ({"token": None, "password": ""}, {"token": None, "password": ""}),
        ("sk-abcdefghijklmnopqrstuvwx", REDACTED),
        ("key hf_abcdefghijklmnopqrstuv.", f"key {REDACTED}."),
        ("https://user:pass@host/x", f"https://{REDACTED}@host/x"),
        ("run.py eval.api_key=hunter2 n=3", f"run.py eval.api_key={REDACTED} n=3"),
        ("run.py --token hunter2 --n 3", f"run.py --token {REDACTED} --n 3"),
        ("run.py --api-key hunter2 --n 3", f"run.py --api-key {REDACTED} --n 3"),
        (["--api-key", "hunter2", "--n", "3"], ["--api-key", REDACTED, "--n", "3"]),
        (["--token", "--n", "3"], ["--token", "--n", "3"]),
        ({"headers": {"X-Api-Key": "k"}}, {"headers": {"X-Api-Key": REDACTED}}),
        (
            "https://hooks.slack.com/services/T0/B0/xyz",
            f"https://hooks.slack.com/services/{REDACTED}",
        ),
        ("max_tokens=300 tokens=5", "max_tokens=300 tokens=5"),
        ("Bearer abcdefgh12345678", f"Bearer {REDACTED}"),
    ],
)
def test_names_and_shapes(value: Any, expected: Any) -> None:
    assert Redactor({}).value(value) == expected
