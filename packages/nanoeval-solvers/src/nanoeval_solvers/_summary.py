"""What the summaries of multiple-choice and short-answer evals have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from nanoeval_core.metrics.calibration import calibration
from nanoeval_core.metrics.clustered_mean import clustered_mean
from nanoeval_core.metrics.samples import Sample, summarize_samples

from nanoeval_solvers.graders import normalised

if TYPE_CHECKING:
    from nanoeval_core.task import Task

    from nanoeval_solvers import mcq, short_answer


def summarise_choices(results: Sequence[tuple[mcq.MCQTask, mcq.Answer]]) -> dict[str, Any]:
    """The standard metrics over picked sets, and why answers are missing.

    With solvers that report them, also `prob_correct` (the mean probability of the correct
    answer), `brier` and `ece` (of the probability of the picked one), and where answers tie,
    `accuracy` in expectation over the ties.
    """
    samples = [
        Sample(
            instance=task.question_id,
            attempt=task.attempt_id,
            is_correct=answer.picked == task.question.correct_indices,
            answer_group=answer.picked,
            outcome=_outcome(answer, answer.picked == task.question.correct_indices),
        )
        for task, answer in results
    ]
    summary = summarize_samples(samples, answer_groups=True) | _problems(results)
    if any(answer.tied for _, answer in results):
        scores = [(task.question_id, answer.score(task.question)) for task, answer in results]
        summary |= _mean("accuracy", scores)
        summary["num_tied"] = sum(bool(answer.tied) for _, answer in results)
    known = [(t.question_id, a.prob_correct) for t, a in results if a.prob_correct is not None]
    if known:
        summary |= _mean("prob_correct", known)
        if len(known) < len(results):
            summary["unavailable"] = summary["unavailable"] | {
                "prob_correct of some answers": f"{len(results) - len(known)} of {len(results)} "
                "have none: too few log probabilities, or no answer"
            }
    return summary | _calibration(results)


def _calibration(results: Sequence[tuple[mcq.MCQTask, mcq.Answer]]) -> dict[str, Any]:
    """Whether answers are right as often as the solver is sure of them; nothing when it never said.

    By the probability of the picked answer: that of the correct one is high exactly where the
    answer is right, however well the solver knows what it knows.
    """
    sure: dict[str, list[float | None]] = {}
    right: dict[str, list[bool]] = {}
    for task, answer in results:
        sure.setdefault(task.question_id, []).append(answer.prob_picked)
        right.setdefault(task.question_id, []).append(
            answer.picked == task.question.correct_indices
        )
    found = calibration(sure, right)
    if found is None:
        return {}
    return {name: value for name, value in found.as_dict().items() if name != "calibration_bins"}


def summarise_answers(
    results: Sequence[tuple[short_answer.ShortAnswerTask, short_answer.Answer]],
) -> dict[str, Any]:
    """The standard metrics over graded answers, and why answers are missing.

    Equal texts (but for case, spacing and the like) are one answer for `cons@k`, unless the
    grader contradicts itself about them. With a model grader, also `grader_exact_agreement`: how
    often its verdict is that of an exact match.
    """
    grouped = _grader_is_consistent(results)
    samples = [
        Sample(
            instance=task.question_id,
            attempt=task.attempt_id,
            is_correct=answer.correct,
            answer_group=None if answer.text is None else normalised(answer.text),
            outcome=_outcome(answer, answer.correct),
        )
        for task, answer in results
    ]
    summary = summarize_samples(samples, answer_groups=grouped) | _problems(results)
    if not grouped:
        summary["unavailable"] = summary["unavailable"] | {
            "cons@k": "the grader gave equal answers to a question different verdicts"
        }
    agreement = [
        (task.question_id, float(answer.correct == answer.verdict.exact))
        for task, answer in results
        if answer.verdict is not None and answer.verdict.exact is not None
    ]
    return summary | (_mean("grader_exact_agreement", agreement) if agreement else {})


def _outcome(answer: mcq.Answer | short_answer.Answer, correct: bool) -> Any:
    from nanoeval_solvers.mcq import outcome_of_answer  # noqa: PLC0415  it imports this module

    return outcome_of_answer(answer.problem, correct)


def _problems(
    results: Sequence[tuple[Task, mcq.Answer]] | Sequence[tuple[Task, short_answer.Answer]],
) -> dict[str, int]:
    problems = Counter(answer.problem for _, answer in results)
    return {
        "num_unparsable": problems["unparsable"],
        "num_empty": problems["empty"],
        "num_context_length": problems["context_length"],
        "num_content_policy": problems["content_policy"],
        "num_truncated": sum(answer.truncated for _, answer in results),
    }


def _mean(name: str, scores: Sequence[tuple[str, float]]) -> dict[str, Any]:
    by_question: dict[str, list[float]] = {}
    for question_id, score in scores:
        by_question.setdefault(question_id, []).append(score)
    return clustered_mean(by_question).as_dict(name)


def _grader_is_consistent(
    results: Sequence[tuple[short_answer.ShortAnswerTask, short_answer.Answer]],
) -> bool:
    verdicts: dict[tuple[Hashable, str], bool] = {}
    return all(
        verdicts.setdefault((task.question_id, normalised(answer.text)), answer.correct)
        == answer.correct
        for task, answer in results
        if answer.text is not None
    )
