"""Verdicts on short answers."""

from __future__ import annotations

import asyncio
import re

import pytest
from nanoeval_core.errors import ConfigError, GraderError
from nanoeval_solvers.api_model import APIModel
from nanoeval_solvers.graders import (
    ContainsMatch,
    ExactMatch,
    Grader,
    MockGrader,
    ModelGrader,
    NumericMatch,
    RegexMatch,
    Verdict,
    verdict_of,
)
from nanoeval_solvers.testing import ModelServer, Scripted

from tests.support.solver_attempts import Attempt


def verdict(grader: Grader, answer: str, *references: str) -> bool:
    return asyncio.run(grader.grade("?", answer, references, sample="q.1")).correct


@pytest.mark.parametrize(
    ("grader", "answer", "reference", "correct"),
    [
        (ExactMatch(), "Paris", "Paris", True),
        (ExactMatch(), " **paris**. ", "Paris", True),
        (ExactMatch(), "Ｐａｒｉｓ", "Paris", True),
        (ExactMatch(), "Paris, France", "Paris", False),
        (ExactMatch(normalize=False), "paris", "Paris", False),
        (ContainsMatch(), "It is Paris, of course", "paris", True),
        (ContainsMatch(), "Parisian", "Paris", False),
        (ContainsMatch(), "C++ is it", "C++", True),
        (RegexMatch(), "colour", "colou?r", True),
        (RegexMatch(), "the colour", "colou?r", False),
        (RegexMatch(whole=False), "the colour", "colou?r", True),
        (RegexMatch(ignore_case=False), "Colour", "colour", False),
        (NumericMatch(), "3.14", "3.14159", True),
        (NumericMatch(), "3.2", "3.14159", False),
        (NumericMatch(relative=0, absolute=0.1), "3.2", "3.14159", True),
        (NumericMatch(relative=0), "1,234.5", "1234.5", True),
        (NumericMatch(), "1.2e3", "1200", True),
        (NumericMatch(), "1.2 × 10^3", "1200", True),
        (NumericMatch(), r"1.2 \times 10^{3}", "1200", True),
        (NumericMatch(), r"$\boxed{1200}$", "1200", True),
        (NumericMatch(), "x = 1200", "1200", True),
        (NumericMatch(), "about 1200 J", "1.2 kJ", True),
        (NumericMatch(), "−5 °C", "-5 °C", True),
        (NumericMatch(), "268.15 K", "-5 °C", True),
        (NumericMatch(), "3/4", "0.75", True),
        (NumericMatch(), "45 %", "0.45", True),
        (NumericMatch(), "45", "45 %", False),
        (NumericMatch(), "1.5 km", "1500 m", True),
        (NumericMatch(), "9.8 m/s²", "9.8 m s^-2", True),
        (NumericMatch(), "393.5 kJ/mol", "393500 J mol^-1", True),
        (NumericMatch(), r"9.8\,\text{m/s}^2", "9.8 m/s^2", True),
        (NumericMatch(), r"50\text{ N}\cdot\text{m}", "50 N m", True),
        (NumericMatch(), r"4\ \mathrm{kg\, m^{2}}", "4 kg m^2", True),
        (NumericMatch(), r"20^\circ\text{C}", "20", True),
        (NumericMatch(), "1.5 kg", "1500 m", False),
        (NumericMatch(), "1500", "1500 m", False),
        (NumericMatch(require_unit=False), "1500", "1500 m", True),
        (NumericMatch(), "1500 m", "1500", True),
        (NumericMatch(), "1500 or 1600", "1500", False),
        (NumericMatch(), "none", "1500", False),
        (NumericMatch(), "1/0", "1500", False),
        (NumericMatch(), "9**9**9**9 m", "1500 m", False),
        (NumericMatch(), "5 m^999999999", "5 m", False),
        (NumericMatch(relative=0), "0", "0", True),
        (NumericMatch(), "1e400", "1500", False),
        (NumericMatch(), "10^5", "100000", True),
        (NumericMatch(), "1.2×10³ m", "1200 m", True),
        (NumericMatch(), "10⁻³ m", "1 mm", True),
        (NumericMatch(), "1 1/2", "1.5", True),
        (NumericMatch(), "2½ km", "2500 m", True),
        (NumericMatch(), r"\frac{3}{4}", "0.75", True),
        (NumericMatch(), r"-2\frac{1}{2}", "-2.5", True),
        (NumericMatch(), r"\(45\%\)", "0.45", True),
        (NumericMatch(), "1{,}234", "1234", True),
        (NumericMatch(), "1\u202f234\u202f567", "1234567", True),
        (NumericMatch(), "1.2 million", "1200000", True),
        (NumericMatch(), "20 degrees Celsius", "20 °C", True),
        (NumericMatch(relative=0), "1,5", "15", False),
        (NumericMatch(), "2^10", "10", False),
        (NumericMatch(), "5-10", "5", False),
        (ContainsMatch(), "anything at all", ".", False),
    ],
)
def test_verdicts(grader: Grader, answer: str, reference: str, correct: bool) -> None:
    assert verdict(grader, answer, reference) is correct


def test_any_reference_will_do() -> None:
    assert verdict(ExactMatch(), "soda", "sodium carbonate", "soda")
    assert verdict(NumericMatch(), "5 m", "3 m", "5 m")


@pytest.mark.parametrize(
    ("grader", "reference", "message"),
    [
        (RegexMatch(), "(", "reference answer '(' of 'q.1' is not a regular expression"),
        (NumericMatch(), "a few", "reference answer 'a few' of 'q.1' is no number"),
        (NumericMatch(), "5 wibbles", "reference answer '5 wibbles' of 'q.1' is no number"),
    ],
)
def test_references_that_make_no_sense_are_told(
    grader: Grader, reference: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        verdict(grader, "5 m", reference)


@pytest.mark.parametrize(
    ("reply", "correct"),
    [
        ("Verdict: CORRECT", True),
        ("The answer is incorrect in style.\n\nVerdict: CORRECT", True),
        ("**Verdict: INCORRECT**", False),
        ("verdict: incorrect.", False),
        ("CORRECT", None),
        ("Verdict: CORRECT or INCORRECT", None),
        ("Verdict: CORRECT\nVerdict: maybe", None),
        ("Verdict: not CORRECT", None),
        ("", None),
    ],
)
def test_a_model_s_verdict_is_read_strictly(reply: str, correct: bool | None) -> None:
    assert verdict_of(reply) is correct


def grade(server: ModelServer, **fields: object) -> Attempt[Verdict]:
    model = APIModel(model="judge", base_url=server.url, max_retries=0)
    grader = ModelGrader(model=model, **fields)  # type: ignore[arg-type]
    return Attempt(grader.grade("2 + 2?", "four", ["4"], sample="q.1"))


def test_a_model_grades(model_server: ModelServer) -> None:
    model_server.reply = "Four is 4.\nVerdict: CORRECT"
    attempt = grade(model_server)
    assert attempt.result == Verdict(True, exact=False, record={"exact": False})
    prompt = model_server.requests[0].prompt
    assert "2 + 2?" in prompt
    assert "Reference: 4" in prompt
    assert "Answer to grade: four" in prompt
    (sampling,) = attempt.recorder.samplings
    assert (sampling["role"], sampling["model"]) == ("grader", "judge")
    assert attempt.usage.requests == 1


def test_a_grader_is_asked_again_when_it_gives_no_verdict(model_server: ModelServer) -> None:
    model_server.replies.append("Hard to say.")
    model_server.reply = "Verdict: INCORRECT"
    assert grade(model_server).result.correct is False
    assert len(model_server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            "Hard to say.",
            "gave no verdict in 3 replies, the last of which ends with 'Hard to say.'",
        ),
        (Scripted(status=500, text="it broke"), "the grader failed: "),
        (Scripted(status=400, text="filtered", code="content_filter"), "gave no verdict"),
    ],
)
def test_a_grader_that_fails_says_nothing_of_the_answer(
    model_server: ModelServer, reply: str | Scripted, message: str
) -> None:
    model_server.reply = reply
    with pytest.raises(GraderError, match=re.escape(message)):
        grade(model_server)


def test_rubrics_are_checked() -> None:
    model = APIModel(model="judge", base_url="http://x/v1")
    with pytest.raises(ConfigError, match=re.escape("ModelGrader.rubric must use {answer}")):
        ModelGrader(model=model, rubric="{question}")
    with pytest.raises(ConfigError, match=re.escape("ModelGrader.rubric uses {reply}")):
        ModelGrader(model=model, rubric="{answer} {reply}")


def test_the_mock_agrees_as_often_as_asked() -> None:
    grader = MockGrader(agreement=0.8)

    async def verdicts() -> list[Verdict]:
        return [await grader.grade("?", "a", ["a"], sample=f"q{n}.1") for n in range(400)]

    first = asyncio.run(verdicts())
    assert first == asyncio.run(verdicts())
    assert 0.74 < sum(one.correct for one in first) / 400 < 0.86
    with pytest.raises(GraderError, match=r"the mock grader failed, as"):
        verdict(MockGrader(failure_rate=1), "a", "a")
