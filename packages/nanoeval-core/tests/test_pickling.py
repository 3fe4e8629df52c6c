"""What can be pickled, and how what cannot is named."""

from __future__ import annotations

import asyncio
import pickle
import threading
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval_core.errors import NotPicklableError
from nanoeval_core.pickling import dumps
from nanoeval_core.task import Task


@chz.chz
class Inner:
    client: Any = None


@chz.chz
class Outer:
    name: str = "x"
    inner: Inner = chz.field(default_factory=Inner)


class Question(Task):
    extra: Any = None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Outer(inner=Inner(client=threading.Lock())), "inner.client"),
        (Question(question_id="q", extra={"a": [1, threading.RLock()]}), "extra.a.1"),
        ({"generator": (i for i in ())}, "generator"),
        # What dill can do is not what is reported.
        ([lambda: 1, threading.Lock()], "1"),
    ],
)
def test_the_field_is_named(value: object, path: str) -> None:
    with pytest.raises(NotPicklableError, match=rf"^thing cannot be pickled: field '{path}': "):
        dumps(value, what="thing")


def test_files_belong_to_one_process(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x", "utf-8")
    for mode in ("r", "rb", "r+b", "ab"):
        with file.open(mode) as opened, pytest.raises(NotPicklableError, match="cannot be pickled"):
            dumps(opened, what="thing")


def test_local_classes_and_functions_travel_by_value() -> None:
    pytest.importorskip("dill")

    class Local:
        def __init__(self) -> None:
            self.double = lambda x: 2 * x

    assert pickle.loads(dumps(Local(), what="thing")).double(4) == 8


def test_plain_values_are_plain_pickles() -> None:
    task = Question(question_id="q", extra={"a": 1})
    assert pickle.loads(dumps(task, what="task")) == task
    assert pickle.loads(dumps(asyncio.CancelledError("x"), what="error")).args == ("x",)
