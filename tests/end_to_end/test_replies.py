"""What becomes of odd replies in a run: read or unparsable, recorded, counted; the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval_recorder import read
from nanoeval_recorder.reading.events import Match, Sampling
from nanoeval_solvers.mcq import MCQEval, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from tests.support.raw_server import RawServer, http

CITIES = ["Lyon", "Paris", "Nice", "Lille"]


@chz.chz
class Capital(MCQEval):
    """Asks the same question in as many ways as there are `replies`."""

    n: int = 1

    def get_name(self) -> str:
        return "capital"

    async def get_questions(self) -> list[Question]:
        return [
            Question(id=str(i), question=f"<{i}>", answers=CITIES, correct_indices={1})
            for i in range(self.n)
        ]


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


def run_replies(
    run_eval: Any, url: str, folder: Path, n: int, **solver: Any
) -> tuple[dict[str, Any], dict[str, Match], list[Sampling]]:
    asked = OpenAIAPIMCQSolver(model="m", base_url=url, **solver)
    eval = Capital(solver=asked, shuffle_choices=False, n=n)
    summary = run_eval(eval, recorder=None, concurrency=1)
    events = list(read(folder / "records"))
    matches = {event.sample_id: event for event in events if isinstance(event, Match)}
    return summary, matches, [event for event in events if isinstance(event, Sampling)]


def test_what_a_pick_was_read_from_is_recorded_and_counted(
    model_server: ModelServer, run_eval: Any, tmp_path: Path
) -> None:
    replies = [
        '{"answer": "B"}',
        "It is the seat of government.\n\nAnswer: B",
        "Thus \\boxed{B}",
        "B) Paris",
        "Paris is the capital, so B is correct.",
        "So the capital is Paris.",
        "B\n\nWhat is the capital of Spain?\nA) Madrid\nB) Oslo\n\nAnswer: A",
        "Either A or B.",
    ]

    def say(request: Request) -> str:
        return replies[int(request.prompt.partition("<")[2].partition(">")[0])]

    model_server.reply = say
    n = len(replies)
    summary, matches, _ = run_replies(run_eval, model_server.url, tmp_path, n)
    read_by = [matches[str(i)].get("read_by") for i in range(n)]
    assert read_by[:6] == ["structured", "answer_line", "boxed", "bare", "prose", "prose"]
    assert read_by[6:] == ["bare", None]
    assert summary["read_by"] == {
        "bare": 2,
        "prose": 2,
        "structured": 1,
        "answer_line": 1,
        "boxed": 1,
    }
    assert (summary["num_unparsable"], summary["accuracy"]) == (1, pytest.approx(7 / 8))
    assert matches["7"].get("unparsable") is True


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("reply", ["\ud83d", "[" * 100_000, '{"answer": ' * 20_000, "\x00\x01"])
def test_an_odd_reply_is_unparsable_and_the_run_goes_on(
    model_server: ModelServer, run_eval: Any, tmp_path: Path, reply: str, structured: bool
) -> None:
    said = '{"reasoning": "", "answer": "B"}' if structured else "Answer: B"
    model_server.reply = lambda request: Scripted(text=reply if "<0>" in request.prompt else said)
    summary, matches, samplings = run_replies(
        run_eval, model_server.url, tmp_path, 3, structured=structured
    )
    assert (summary["num_unparsable"], summary["accuracy"]) == (1, pytest.approx(2 / 3))
    assert matches["0"].get("unparsable") is True
    assert [matches[name].correct for name in ("0", "1", "2")] == [False, True, True]
    assert len(samplings) == 3
    assert summary["read_by"] == {"structured" if structured else "answer_line": 2}


def test_a_reply_that_is_not_utf_8_is_unparsable_and_the_run_goes_on(
    raw_server: RawServer, run_eval: Any, tmp_path: Path
) -> None:
    raw_server.replies.append(http(200, b'{"choices": [{"message": {"content": "\xff\xfe\xc3"}}]}'))
    summary, matches, samplings = run_replies(run_eval, raw_server.url, tmp_path, 3)
    assert (summary["num_unparsable"], summary["accuracy"]) == (1, pytest.approx(2 / 3))
    assert sum(match.get("unparsable") is True for match in matches.values()) == 1
    assert len(samplings) == 3
