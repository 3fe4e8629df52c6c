"""What the summaries of multiple-choice and short-answer evals have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoeval_solvers import mcq, short_answer


def summarise_choices(results: Sequence[tuple[mcq.MCQTask, mcq.Answer]]) -> dict[str, Any]:
    """Accuracy with its standard error and interval, and the counts that stand beside it."""
    return _summary(
        (task.question_id, answer.score(task.question), answer) for task, answer in results
    )


def summarise_answers(
    results: Sequence[tuple[short_answer.ShortAnswerTask, short_answer.Answer]],
) -> dict[str, Any]:
    """Accuracy with its standard error and interval, and the counts that stand beside it."""
    return _summary((task.question_id, float(answer.correct), answer) for task, answer in results)


def _summary(
    scored: Iterable[tuple[str, float, mcq.Answer | short_answer.Answer]],
) -> dict[str, Any]:
    # Deferred: statistics are needed when a run ends, not when an eval is defined.
    from nanoeval_core.metrics.clustered_mean import clustered_mean  # noqa: PLC0415

    scores: dict[str, list[float]] = {}
    problems: Counter[str] = Counter()
    num_truncated = 0
    for question_id, score, answer in scored:
        scores.setdefault(question_id, []).append(score)
        problems[answer.problem or ""] += 1
        num_truncated += answer.truncated
    flat = [score for values in scores.values() for score in values]
    return {
        **clustered_mean(scores).as_dict("accuracy"),
        "n": len(scores),
        "num_answers": len(flat),
        "num_correct": sum(score == 1.0 for score in flat),
        "num_unparsable": problems["unparsable"],
        "num_context_length": problems["context_length"],
        "num_content_policy": problems["content_policy"],
        "num_truncated": num_truncated,
    }
