"""What subcommands print, for those who read it with a program."""

from __future__ import annotations

import json

import pytest
from nanoeval_cli._output import write_json


def test_json_has_no_values_that_json_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"a": float("nan"), "b": [1.5, (float("inf"),)], "c": {"d": True, "e": None}})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"a": None, "b": [1.5, [None]], "c": {"d": True, "e": None}}
