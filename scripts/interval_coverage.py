"""How often the intervals we report hold the truth: the tables of docs/statistics.md.

    python scripts/interval_coverage.py            # 10,000 runs of every shape: some minutes
    python scripts/interval_coverage.py --runs 500 # a quick look
    python scripts/interval_coverage.py --write    # put the tables into docs/statistics.md

Simulates runs of the shapes that evals have, from question difficulties that are themselves drawn,
and asks `clustered_mean` and `compare` for their default 95 % interval of each run. Needs numpy.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nanoeval_core.metrics.clustered_mean import clustered_mean
from nanoeval_core.metrics.paired import compare
from nanoeval_core.metrics.pass_at_k import pass_at_k

DOCS = Path(__file__).parents[1] / "docs" / "statistics.md"
Z = 1.959963984540054

Rng = np.random.Generator
Scores = dict[int, list[float]]
Clusters = dict[int, Hashable] | None


class Simulated(NamedTuple):
    """One run, or two (`baseline` first), and the mean (or difference) that is true of it."""

    scores: Scores
    clusters: Clusters
    truth: float
    baseline: Scores | None = None


class Shape(NamedTuple):
    """What is simulated, and where its row goes: `realistic`, `small` or `paired`."""

    table: str
    name: str
    draw: Callable[[Rng], Simulated]


class Coverage(NamedTuple):
    """Shares of intervals: that hold the truth, that are above and below it; and mean width."""

    number: int  # of the shape in SHAPES
    covered: float
    above: float
    below: float
    width: float
    normal: float


def difficulties(rng: Rng, mean: float, number: int, concentration: float) -> np.ndarray:
    """Chances of being right: Beta with this mean; a small concentration is easy or hopeless."""
    if np.isinf(concentration):
        return np.full(number, mean)
    return rng.beta(mean * concentration, (1 - mean) * concentration, number)


def attempts_at(rng: Rng, chances: np.ndarray, attempts: Sequence[int] | np.ndarray) -> Scores:
    return {
        index: (rng.random(number) < chance).astype(float).tolist()
        for index, (chance, number) in enumerate(zip(chances, attempts, strict=True))
    }


def independent(
    questions: int,
    attempts: int,
    mean: float | tuple[float, float],
    concentration: float = 1.0,
    *,
    ragged: bool = False,
) -> Callable[[Rng], Simulated]:
    """Independent questions; a pair of means draws each run's from between them."""

    def draw(rng: Rng) -> Simulated:
        truth = mean if isinstance(mean, float) else rng.uniform(*mean)
        chances = difficulties(rng, truth, questions, concentration)
        numbers = rng.integers(1, attempts + 1, questions) if ragged else [attempts] * questions
        return Simulated(attempts_at(rng, chances, numbers), None, truth)

    return draw


def passed(questions: int, attempts: int, k: int, mean: float) -> Callable[[Rng], Simulated]:
    """pass@k of independent questions with Beta(mean, 1-mean) difficulties."""
    failing = 1.0  # E[(1-p)^k] = Π (1-mean+i)/(1+i)
    for i in range(k):
        failing *= (1 - mean + i) / (1 + i)

    def draw(rng: Rng) -> Simulated:
        correct = rng.binomial(attempts, difficulties(rng, mean, questions, 1.0))
        scores = {i: [pass_at_k(attempts, int(c), k)] for i, c in enumerate(correct)}
        return Simulated(scores, None, 1 - failing)

    return draw


def clustered(
    sizes: Callable[[Rng], Sequence[int]], attempts: int, mean: float, spread: float = 3.0
) -> Callable[[Rng], Simulated]:
    """Passages of so many questions each; difficulties vary around the passage's."""

    def draw(rng: Rng) -> Simulated:
        scores: Scores = {}
        clusters: dict[int, Hashable] = {}
        for passage, size in enumerate(sizes(rng)):
            center = float(np.clip(difficulties(rng, mean, 1, spread)[0], 1e-6, 1 - 1e-6))
            for chance in difficulties(rng, center, size, 2.0):
                clusters[len(scores)] = passage
                scores[len(scores)] = (rng.random(attempts) < chance).astype(float).tolist()
        return Simulated(scores, clusters, mean)

    return draw


def graded(questions: int, a: float, b: float) -> Callable[[Rng], Simulated]:
    """Rubric scores from 0 to 1."""

    def draw(rng: Rng) -> Simulated:
        values = rng.beta(a, b, questions).tolist()
        return Simulated({i: [value] for i, value in enumerate(values)}, None, a / (a + b))

    return draw


def unbounded(
    questions: int, sample: Callable[[Rng, int], np.ndarray], truth: float
) -> Callable[[Rng], Simulated]:
    def draw(rng: Rng) -> Simulated:
        values = sample(rng, questions).tolist()
        return Simulated({i: [value] for i, value in enumerate(values)}, None, truth)

    return draw


def two_runs(
    questions: int, attempts: int, gain: float, *, concentration: float = 0.7, per_passage: int = 1
) -> Callable[[Rng], Simulated]:
    """Two models of much the same mind: one chance per question, moved by what sets them apart."""

    def draw(rng: Rng) -> Simulated:
        passages = -(-questions // per_passage)
        moves = np.repeat(rng.normal(0, 0.1, passages), per_passage)[:questions]
        base = difficulties(rng, 0.6, questions, concentration)
        # Chances move by a share of the room there is, so that they stay chances.
        change = gain + moves
        better = np.where(change > 0, base + (1 - base) * change, base * (1 + change))
        mean_up = _truncated_mean(gain, 0.1)
        truth = (1 - 0.6) * mean_up[0] + 0.6 * mean_up[1]
        numbers = [attempts] * questions
        clusters: Clusters = (
            {i: i // per_passage for i in range(questions)} if per_passage > 1 else None
        )
        return Simulated(
            attempts_at(rng, np.clip(better, 0, 1), numbers),
            clusters,
            truth,
            attempts_at(rng, base, numbers),
        )

    return draw


def _truncated_mean(mean: float, sd: float) -> tuple[float, float]:
    """E[max(X, 0)] and E[min(X, 0)] of a normal X."""
    from statistics import NormalDist  # noqa: PLC0415  keeps the worker's start light

    normal = NormalDist()
    ratio = mean / sd
    up = mean * normal.cdf(ratio) + sd * normal.pdf(ratio)
    return up, mean - up


def uneven(number: int, most: int) -> Callable[[Rng], Sequence[int]]:
    return lambda rng: rng.integers(1, most + 1, number).tolist()


REPOSITORIES = (231, 75, 44, 34, 32, 22, 22, 19, 10, 8, 2, 1)  # SWE-bench Verified's questions each

WIDE = (0.3, 0.95)

SHAPES = (
    *(
        Shape(
            "realistic",
            f"{n:,} questions, 1 attempt, accuracy 30–95 %",
            independent(n, 1, (0.3, 0.95)),
        )
        for n in (100, 164, 198, 500, 1319)
    ),
    *(
        Shape("realistic", f"{n:,} questions, 1 attempt, accuracy {m:.0%}", independent(n, 1, m))
        for n, m in ((164, 0.5), (198, 0.7), (500, 0.9), (1319, 0.95))
    ),
    *(
        Shape("realistic", f"{n} questions, {k} attempts, accuracy {m:.0%}", independent(n, k, m))
        for n, k, m in (
            (30, 16, 0.5),
            (30, 64, 0.8),
            (100, 4, 0.9),
            (164, 10, 0.7),
            (198, 4, 0.1),
            (198, 8, 0.4),
            (500, 4, 0.85),
            (500, 2, 0.95),
        )
    ),
    Shape(
        "realistic",
        "100 questions of equal difficulty, 4 attempts, accuracy 70 %",
        independent(100, 4, 0.7, np.inf),
    ),
    Shape(
        "realistic",
        "198 questions, 1 to 4 attempts, accuracy 60 %",
        independent(198, 4, 0.6, ragged=True),
    ),
    Shape(
        "realistic", "pass@5 of 164 questions, 10 attempts, accuracy 50 %", passed(164, 10, 5, 0.5)
    ),
    Shape(
        "realistic", "pass@8 of 300 questions, 16 attempts, accuracy 20 %", passed(300, 16, 8, 0.2)
    ),
    Shape(
        "realistic",
        "50 passages of 5 questions, 1 attempt, accuracy 70 %",
        clustered(lambda rng: [5] * 50, 1, 0.7),
    ),
    Shape(
        "realistic",
        "40 passages of 1 to 10 questions, 2 attempts, accuracy 60 %",
        clustered(uneven(40, 10), 2, 0.6),
    ),
    Shape(
        "realistic",
        "100 passages of 1 to 10 questions, 1 attempt, accuracy 80 %",
        clustered(uneven(100, 10), 1, 0.8),
    ),
    Shape("realistic", "100 rubric scores, mean 0.4", graded(100, 2, 3)),
    Shape("realistic", "200 rubric scores, mean 0.89", graded(200, 8, 1)),
    Shape(
        "realistic",
        "100 rewards, normal",
        unbounded(100, lambda rng, n: rng.normal(3, 2, n), 3.0),
    ),
    Shape(
        "realistic",
        "300 durations, log-normal (σ = 0.5)",
        unbounded(300, lambda rng, n: rng.lognormal(0, 0.5, n), float(np.exp(0.125))),
    ),
    Shape("paired", "164 questions, 1 attempt, about equal", two_runs(164, 1, 0.0)),
    Shape("paired", "198 questions, 1 attempt, gain", two_runs(198, 1, 0.1)),
    Shape("paired", "500 questions, 1 attempt, gain", two_runs(500, 1, 0.05)),
    Shape("paired", "198 questions, 4 attempts, gain", two_runs(198, 4, 0.1)),
    Shape("paired", "30 questions, 16 attempts, gain", two_runs(30, 16, 0.1)),
    Shape(
        "paired", "40 passages of 5 questions, 2 attempts", two_runs(200, 2, 0.05, per_passage=5)
    ),
    Shape("small", "30 questions, 1 attempt, accuracy 30–95 %", independent(30, 1, WIDE)),
    Shape("small", "100 questions, 1 attempt, accuracy 70 %", independent(100, 1, 0.7)),
    Shape("small", "100 questions, 1 attempt, accuracy 90 %", independent(100, 1, 0.9)),
    Shape("small", "50 questions, 1 attempt, accuracy 95 %", independent(50, 1, 0.95)),
    Shape("small", "30 questions, 16 attempts, accuracy 90 %", independent(30, 16, 0.9)),
    Shape("small", "30 questions, 16 attempts, accuracy 95 %", independent(30, 16, 0.95)),
    Shape("small", "50 questions, 4 attempts, accuracy 95 %", independent(50, 4, 0.95)),
    Shape(
        "small",
        "30 questions of equal difficulty, 8 attempts, accuracy 90 %",
        independent(30, 8, 0.9, np.inf),
    ),
    Shape(
        "small",
        "10 passages of 1 to 10 questions, 1 attempt, accuracy 70 %",
        clustered(uneven(10, 10), 1, 0.7),
    ),
    Shape(
        "small",
        "12 repositories of 1 to 231 questions, 1 attempt, accuracy 60 %",
        clustered(lambda rng: REPOSITORIES, 1, 0.6, spread=20.0),
    ),
    Shape(
        "small",
        "30 durations, exponential",
        unbounded(30, lambda rng, n: rng.exponential(2.0, n), 2.0),
    ),
    Shape(
        "small",
        "30 durations, log-normal (σ = 0.5)",
        unbounded(30, lambda rng, n: rng.lognormal(0, 0.5, n), float(np.exp(0.125))),
    ),
)


def measure(index: int, runs: int, seed: int) -> Coverage:
    """Simulate one shape."""
    shape = SHAPES[index]
    rng = np.random.default_rng([seed, index])
    above = below = normal = 0
    width = 0.0
    for _ in range(runs):
        one = shape.draw(rng)
        if one.baseline is None:
            found = clustered_mean(one.scores, clusters=one.clusters)
            center, stderr, low, high = found.mean, found.stderr, found.low, found.high
        else:
            pair = compare(one.baseline, one.scores, clusters=one.clusters)
            center, stderr, low, high = pair.difference, pair.stderr, pair.low, pair.high
        assert center is not None
        assert stderr is not None
        assert low is not None
        assert high is not None
        above += low > one.truth
        below += high < one.truth
        width += high - low
        normal += abs(center - one.truth) <= Z * stderr
    return Coverage(
        index, 1 - (above + below) / runs, above / runs, below / runs, width / runs, normal / runs
    )


def table(rows: Sequence[Coverage]) -> str:
    lines = [
        "| runs of | covered | above | below | mean width | mean ± 1.96 s.e. would cover |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {SHAPES[row.number].name} | {row.covered:.1%} | {row.above:.1%} | {row.below:.1%} "
        f"| {row.width:.3f} | {row.normal:.1%} |"
        for row in rows
    ]
    return re.sub(r"(?<=\d)%", " %", "\n".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000, help="simulated runs of each shape")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the tables into the docs")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.processes) as pool:
        jobs = [pool.submit(measure, i, args.runs, args.seed) for i in range(len(SHAPES))]
        found = []
        for job in jobs:
            found.append(job.result())
            row = found[-1]
            print(f"{row.covered:.2%} {SHAPES[row.number].name}", file=sys.stderr, flush=True)
    text = DOCS.read_text() if args.write else ""
    for name in ("realistic", "paired", "small"):
        filled = table([row for row in found if SHAPES[row.number].table == name])
        print(f"\n{name}\n\n{filled}")
        marks = (f"<!-- coverage: {name} -->", "<!-- end -->")
        text = re.sub(
            f"{marks[0]}.*?{marks[1]}", f"{marks[0]}\n{filled}\n{marks[1]}", text, flags=re.DOTALL
        )
    if args.write:
        DOCS.write_text(text)
    missed = [
        row
        for row in found
        if SHAPES[row.number].table != "small" and not 0.94 <= row.covered <= 0.96
    ]
    for row in missed:
        print(f"outside 94-96 %: {SHAPES[row.number].name}: {row.covered:.2%}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
