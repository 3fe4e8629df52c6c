"""What the summaries of multiple-choice and short-answer evals have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from nanoeval_core.metrics.breakdown import breakdown
from nanoeval_core.metrics.calibration import calibration
from nanoeval_core.metrics.clustered_mean import clustered_mean
from nanoeval_core.metrics.samples import Sample
from nanoeval_core.metrics.standard import default_metrics

from nanoeval_solvers.graders import normalized

Results = Sequence[tuple[Any, Any]]
"""Tasks and answers, of `mcq` or of `short_answer`, which import this module."""


def summarize_choices(results: Results, *, by: Sequence[str] = ()) -> dict[str, Any]:
    """Return the standard metrics over picked sets, and why answers are missing.

    `read_by` counts what the picks were read from. With solvers that report them, also
    `prob_correct` (the mean probability of the correct answer), `brier` and `ece` (of the
    probability of the picked one), and where answers tie, `accuracy` in expectation over the ties.
    `by` names keys of the questions' metadata to break all that down by.
    """
    correct: dict[tuple[str, frozenset[int] | None], bool] = {}
    samples = [
        Sample(
            instance=task.question_id,
            attempt=task.attempt_id,
            # Equal answers to a question are equally right: as the first of them.
            is_correct=correct.setdefault((task.question_id, answer.indices), answer.correct),
            answer_group=answer.indices,
            outcome=answer.outcome,
        )
        for task, answer in results
    ]
    summary = default_metrics(samples, answer_groups=True) | _problems(results)
    if any(answer.tied for _, answer in results):
        scores = [(task.question_id, answer.score(task.question)) for task, answer in results]
        summary |= mean_of("accuracy", scores)
        summary["num_tied"] = sum(bool(answer.tied) for _, answer in results)
    known = [(t.question_id, a.prob_correct) for t, a in results if a.prob_correct is not None]
    if known:
        summary |= mean_of("prob_correct", known)
        if len(known) < len(results):
            summary.setdefault("unavailable", {})["prob_correct of some answers"] = (
                f"{len(results) - len(known)} of {len(results)} have none: too few log "
                "probabilities, or no answer"
            )
    summary |= _calibration(results)
    return summary | _by(results, by, summarize_choices)


def _by(
    results: Results, by: Sequence[str], summarize: Callable[[Results], dict[str, Any]]
) -> dict[str, Any]:
    """Return the same summary for each value of the keys `by` of the questions' metadata."""
    # A run may be of some questions only, none of which has what others have.
    known = {name for task, _ in results for name in task.question.metadata}
    groups = {
        key: breakdown(results, f"question.metadata.{key}", summarize) for key in by if key in known
    }
    return {"by": groups} if groups else {}


def _calibration(results: Results) -> dict[str, Any]:
    """Return whether answers are right as often as the solver is sure; nothing if it never said.

    By the probability of the picked answer: that of the correct one is high exactly where the
    answer is right, however well the solver knows what it knows.
    """
    sure: dict[str, list[float | None]] = {}
    right: dict[str, list[bool]] = {}
    for task, answer in results:
        sure.setdefault(task.question_id, []).append(answer.prob_picked)
        right.setdefault(task.question_id, []).append(answer.correct)
    found = calibration(sure, right)
    if found is None:
        return {}
    return {name: value for name, value in found.as_dict().items() if name != "calibration_bins"}


def summarize_answers(results: Results, *, by: Sequence[str] = ()) -> dict[str, Any]:
    """Return the standard metrics over graded answers, and why answers are missing.

    Equal texts (whatever their case and spacing) are one answer for `cons@k`, unless the
    grader contradicts itself about them. With a model grader, also `grader_exact_agreement`: how
    often its verdict is that of an exact match. `by` is as in `summarize_choices`.
    """
    grouped = _grader_is_consistent(results)
    samples = [
        Sample(
            instance=task.question_id,
            attempt=task.attempt_id,
            is_correct=answer.correct,
            answer_group=None if answer.text is None else normalized(answer.text),
            outcome=answer.outcome,
        )
        for task, answer in results
    ]
    summary = default_metrics(samples, answer_groups=grouped) | _problems(results)
    if not grouped:
        reason = "the grader gave equal answers to a question different verdicts"
        summary.setdefault("unavailable", {})["cons@k"] = reason
    agreement = [
        (task.question_id, float(answer.correct == answer.verdict.exact))
        for task, answer in results
        if answer.verdict is not None and answer.verdict.exact is not None
    ]
    summary |= mean_of("grader_exact_agreement", agreement) if agreement else {}
    return summary | _by(results, by, summarize_answers)


def _problems(results: Results) -> dict[str, Any]:
    problems = Counter(answer.problem for _, answer in results)
    read_by = Counter(answer.read_by for _, answer in results if answer.read_by is not None)
    followed_up = sum(answer.followed_up for _, answer in results)
    only_reasoning = sum(answer.only_reasoning for _, answer in results)
    return {
        "num_unparsable": problems["unparsable"],
        "num_empty": problems["empty"],
        "num_context_length": problems["context_length"],
        "num_content_policy": problems["content_policy"],
        "num_truncated": sum(answer.truncated for _, answer in results),
        **({"num_only_reasoning": only_reasoning} if only_reasoning else {}),
        **({"num_followed_up": followed_up} if followed_up else {}),
        **({"read_by": dict(read_by.most_common())} if read_by else {}),
    }


def mean_of(name: str, scores: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Return the mean over questions of `scores`, by their ids, with its error."""
    by_question: dict[str, list[float]] = {}
    for question_id, score in scores:
        by_question.setdefault(question_id, []).append(score)
    return clustered_mean(by_question).as_dict(name)


def _grader_is_consistent(results: Results) -> bool:
    verdicts: dict[tuple[str, str], bool] = {}
    return all(
        verdicts.setdefault((task.question_id, normalized(answer.text)), answer.correct)
        == answer.correct
        for task, answer in results
        if answer.text is not None
    )
