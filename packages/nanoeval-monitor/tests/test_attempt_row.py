from __future__ import annotations

import json
from typing import Any

import pytest
from nanoeval_monitor._attempt_row import AttemptDigest, AttemptRow
from nanoeval_monitor._value_text import as_text, head
from nanoeval_recorder.reading.events import ErrorEvent, Event, Match, Sampling


def row(*events: Event, group_id: str | None = "1.0") -> AttemptRow:
    digest = AttemptDigest("q", group_id or "")
    for event in events:
        digest.add(event)
    return digest.row()


@pytest.mark.parametrize(
    ("data", "verdict", "score"),
    [
        ({"correct": True}, "right", 1.0),
        ({"correct": False}, "wrong", 0.0),
        ({"correct": False, "problem": "unparsable", "unparsable": True}, "unparsable", 0.0),
        ({"correct": False, "problem": "content_policy"}, "refused", 0.0),
        ({"correct": True, "score": 0.5, "tied": ["A", "B"]}, "partly right", 0.5),
        ({"correct": [1, 2]}, "no match", None),
        ({"correct": False, "score": float("nan")}, "wrong", 0.0),
    ],
)
def test_verdict_and_score(data: dict[str, Any], verdict: str, score: float | None) -> None:
    found = row(Match(sample_id="q", data=data))
    assert (found.verdict, found.score) == (verdict, score)


def test_the_probability_is_that_of_the_picked_answer_where_it_is_known() -> None:
    data = {"correct": False, "prob_correct": 0.1, "prob_picked": 0.8}
    assert row(Match(sample_id="q", data=data)).prob == 0.8
    del data["prob_picked"]
    assert row(Match(sample_id="q", data=data)).prob == 0.1


def test_errors_and_attempts_without_a_match() -> None:
    failed = row(ErrorEvent(sample_id="q", data={"type": "TimeoutError", "message": "late"}))
    assert (failed.verdict, failed.error, failed.score) == ("lost", "TimeoutError: late", None)
    assert row(Sampling(sample_id="q", data={"prompt": "p", "sampled": []})).verdict == "no match"


def test_several_matches_of_another_writer_count_as_their_mean() -> None:
    matches = [Match(sample_id="q", data={"correct": one}) for one in (True, False, False)]
    assert row(*matches, group_id=None).score == pytest.approx(1 / 3)


def test_the_attempt_and_its_retry_come_out_of_the_group() -> None:
    match = Match(sample_id="q", data={"correct": True})
    assert [(one.attempt, one.retry) for one in (row(match, group_id="3.2"), row(match))] == [
        (3, 2),
        (1, 0),
    ]
    assert (row(match, group_id=None).attempt, row(match, group_id="x.y").retry) == (1, 0)


def test_short_values_become_fields_to_group_by_and_long_ones_do_not() -> None:
    data = {"correct": True, "subject": "physics", "essay": "x" * 500, "level": 3, "tags": ["a"]}
    match = Match(sample_id="q", data={**data, "metadata": {"year": 2024}}, extra={"split": "dev"})
    fields = json.loads(row(match).fields)
    assert fields == {"split": "dev", "subject": "physics", "level": "3", "year": "2024"}


def test_lengths_are_of_the_texts_not_of_their_heads() -> None:
    sampled = Sampling(sample_id="q", data={"prompt": "x" * 5000, "sampled": ["y" * 900, "z"]})
    found = row(sampled)
    assert (found.reply_chars, len(found.reply)) == (901, 240)


def test_values_as_texts() -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}]
    assert as_text(chat) == "user: hi\n\nassistant: "
    assert as_text(["A", "B"]) == '["A", "B"]'
    assert as_text(None) == ""
    assert head("a\n\n  b\tc" + "d" * 100, 5) == "a b c"
