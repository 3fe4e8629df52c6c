"""Cost of summaries during a run, as ratios: to a hundredth of the results, and to a bare loop.

python benchmarks/running_summary.py [results | --small]

Exits with 1 when a promised ratio is exceeded.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable

from nanoeval_core.metrics.accumulator import Accumulator

SUMMARY_LIMIT = 2.0  # a summary of all results against one of a hundredth of them
ADD_LIMIT = 6.0  # adding a result against counting it in a dict
ATTEMPTS = 4


def results(number: int) -> list[tuple[int, bool]]:
    """A run of `ATTEMPTS` attempts at each question, in random order, nine tenths over."""
    rng = random.Random(0)
    questions = [question for question in range(number // ATTEMPTS) for _ in range(ATTEMPTS)]
    rng.shuffle(questions)
    return [(question, rng.random() < 0.7) for question in questions[: number * 9 // 10]]


def bare(scored: list[tuple[int, bool]]) -> None:
    """What any eval must do: count attempts and correct ones, question by question."""
    attempts: dict[int, int] = {}
    correct: dict[int, int] = {}
    for question, is_correct in scored:
        attempts[question] = attempts.get(question, 0) + 1
        correct[question] = correct.get(question, 0) + is_correct


def accumulate(scored: list[tuple[int, bool]]) -> Accumulator:
    totals = Accumulator()
    for question, is_correct in scored:
        totals.add(question, is_correct)
    return totals


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(number: int) -> int:
    scored = results(number)
    few, many = accumulate(results(number // 100)), accumulate(scored)
    pairs = [(seconds(few.summary), seconds(many.summary)) for _ in range(30)]
    summary_few, summary_many = (statistics.median(times) for times in zip(*pairs, strict=True))
    sums = [(seconds(lambda: bare(scored)), seconds(lambda: accumulate(scored))) for _ in range(3)]
    loop, adding = (statistics.median(times) for times in zip(*sums, strict=True))
    growth, overhead = summary_many / summary_few, adding / loop
    print(
        f"summary of {number // 100:,} results {summary_few * 1e3:.2f} ms, of {number:,} "
        f"{summary_many * 1e3:.2f} ms: {growth:.2f} ×  (at most {SUMMARY_LIMIT})\n"
        f"adding a result {adding / len(scored) * 1e6:.2f} µs, in a bare loop "
        f"{loop / len(scored) * 1e6:.2f} µs: {overhead:.1f} ×  (at most {ADD_LIMIT})"
    )
    return int(growth > SUMMARY_LIMIT or overhead > ADD_LIMIT)


if __name__ == "__main__":
    if "--small" in sys.argv:
        main(10_000)
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
