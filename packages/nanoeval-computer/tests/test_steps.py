"""Steps and results: their dumps, and those of older versions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from nanoeval.solvers.computer_tasks._versioning import Migration, VersionedModel
from nanoeval.solvers.computer_tasks.steps import FinalResult, FinalResultSuccessful, Step
from nanoeval.solvers.computer_tasks.task import Grade
from pydantic import ValidationError


class RubricGrade(Grade):
    rubric: dict[str, float]


def test_dumps_begin_with_the_version_and_hold_the_fields_of_a_grades_subclass() -> None:
    grade = RubricGrade(score=0.9, grader_log="log", is_continuous=True, rubric={"a": 0.9})
    step = Step(convo=None, grade=grade, elapsed=timedelta(seconds=61.5))
    dump = step.model_dump(mode="json")
    assert list(dump) == ["schema_version", "convo", "grade", "elapsed", "type"]
    assert dump["grade"]["rubric"] == {"a": 0.9}
    assert dump["elapsed"] == "P0DT0H1M1.500000S"
    assert Step.model_validate(dump).elapsed == step.elapsed
    result = FinalResult(grade=grade)
    assert list(result.model_dump()) == [
        "schema_version",
        "grade",
        "convo",
        "finish_status",
        "max_steps_reached",
        "max_tokens_reached",
        "max_time_reached",
        "type",
    ]
    assert result.model_dump()["grade"]["rubric"] == {"a": 0.9}
    assert FinalResultSuccessful is FinalResult


def test_correct_is_a_score_of_exactly_one() -> None:
    def result(score: float) -> FinalResult:
        return FinalResult(grade=Grade(score=score, grader_log="", is_continuous=True))

    assert result(1.0).correct
    assert not result(0.9).correct
    assert not Step(convo=None, grade=None, elapsed=timedelta()).correct


def test_version_0_is_migrated_and_the_dict_with_it() -> None:
    old = {"schema_version": 0, "correct": True, "grader_log": "fine"}
    assert FinalResult.model_validate(old).grade == Grade(score=1, grader_log="fine")
    assert old["schema_version"] == 1
    step = {"schema_version": 0, "convo": None, "elapsed": 1, "correct": False}
    assert Step.model_validate({**step, "autograder_result": "no"}).grade == Grade(
        score=0, grader_log="no"
    )
    assert Step.model_validate(step).grade is None


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (FinalResult, {"schema_version": 0, "correct": False}),
        (FinalResult, {"schema_version": 0, "correct": True}),
        (Step, {"schema_version": 0, "correct": True, "convo": None, "elapsed": 1}),
        (FinalResult, {"schema_version": 2, "grade": {"score": 1, "grader_log": ""}}),
        (FinalResult, {"schema_version": -1, "grade": {"score": 1, "grader_log": ""}}),
        (VersionedModel, {}),
    ],
)
def test_versions_without_a_way_are_refused(
    model: type[VersionedModel], data: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(data)


def test_a_subclass_adds_its_own_migrations() -> None:
    def add_note(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "note": "old"}

    class Noted(Step):
        _migrations: ClassVar[dict[int, Migration]] = {**Step._migrations, 1: add_note}
        schema_version: int = 2
        note: str

    old = {"schema_version": 0, "convo": None, "elapsed": 1, "correct": False}
    assert Noted.model_validate(old).note == "old"
    new = Noted(convo=None, grade=None, elapsed=timedelta(), note="new")
    assert (new.schema_version, new.note) == (2, "new")
