"""cons@k: is the majority answer of k attempts correct?

The expectation over all subsets of k of a question's n attempts, ties broken uniformly. An
unparsable reply names no answer: it takes one of the k places but has no vote.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

MONTE_CARLO_DRAWS = 10_000
_EXACT_STEPS = 30_000_000  # half a second of plain Python, as long as the draws would take


class Consensus(NamedTuple):
    """A question's cons@k.

    Attributes:
        value: the chance that the majority is correct.
        draws: 0 when exact, else how many subsets were drawn for it.
    """

    value: float
    draws: int

    @property
    def exact(self) -> bool:
        return self.draws == 0


def consensus_at_k(
    answers: Sequence[Hashable | None],
    correct: Mapping[Any, bool],
    k: int,
    *,
    seed: int = 0,
) -> Consensus:
    """cons@k of one question.

    Args:
        answers: the answer group of each attempt; None for a reply that names none.
        correct: whether each answer group is correct.
        k: attempts that vote, 1 ≤ k ≤ len(answers).
        seed: of the Monte Carlo estimate, used only where the exact expectation would take
            longer than about half a second.

    Raises:
        ValueError: `k` is out of range, or `correct` lacks a group.
    """
    if not 1 <= k <= len(answers):
        raise ValueError(f"k={k!r} of {len(answers)} attempts: need 1 ≤ k ≤ attempts")
    votes = Counter(answer for answer in answers if answer is not None)
    for answer in votes:
        if answer not in correct:
            raise ValueError(f"answer group {answer!r} is not said to be correct or incorrect")
    groups = tuple(sorted((count, bool(correct[answer])) for answer, count in votes.items()))
    return _consensus(groups, len(answers) - sum(votes.values()), k, seed)


@lru_cache(maxsize=4096)  # questions with few attempts share few vote counts
def _consensus(
    groups: tuple[tuple[int, bool], ...], abstentions: int, k: int, seed: int
) -> Consensus:
    n = abstentions + sum(count for count, _ in groups)
    if not any(right for _, right in groups):
        return Consensus(0.0, 0)
    if abstentions == 0 and all(right for _, right in groups):
        return Consensus(1.0, 0)
    largest = min(k, max(count for count, _ in groups))
    if n * k * k * (1.0 + math.log(largest)) > _EXACT_STEPS:
        return _sampled(groups, abstentions, k, seed)
    ways: Counter[int] = Counter()
    for votes in range(1, largest + 1):
        ways.update(_ways_to_win(groups, abstentions, k, votes))
    # Whole numbers until here: Python divides them exactly however large they are.
    shares = (number / (tied * math.comb(n, k)) for tied, number in ways.items())
    return Consensus(min(1.0, math.fsum(shares)), 0)


def _ways_to_win(
    groups: tuple[tuple[int, bool], ...], abstentions: int, k: int, votes: int
) -> dict[int, int]:
    """For each t, the correct winners with `votes` votes in a t-way tie, over all `k`-subsets.

    Groups too small to reach `votes` can vote as they like, so they and the abstentions are one
    binomial. The rest are added one by one to two tables over (attempts used, groups at `votes`):
    the number of subsets, and the number of correct groups at `votes` summed over them.
    """
    free = abstentions + sum(count for count, _ in groups if count < votes)
    subsets: dict[tuple[int, int], int] = {(0, 0): 1}
    rights: dict[tuple[int, int], int] = {}
    for count, right in groups:
        if count < votes:
            continue
        next_subsets: dict[tuple[int, int], int] = {}
        next_rights: dict[tuple[int, int], int] = {}
        choices = [math.comb(count, take) for take in range(votes + 1)]
        for (used, tied), number in subsets.items():
            rights_here = rights.get((used, tied), 0)
            for take in range(min(votes, k - used) + 1):
                wins = take == votes
                key = (used + take, tied + wins)
                added = number * choices[take]
                next_subsets[key] = next_subsets.get(key, 0) + added
                gained = rights_here * choices[take] + (added if wins and right else 0)
                if gained:
                    next_rights[key] = next_rights.get(key, 0) + gained
        subsets, rights = next_subsets, next_rights
    ways: dict[int, int] = {}
    for (used, tied), number in rights.items():
        ways[tied] = ways.get(tied, 0) + number * math.comb(free, k - used)
    return ways


def _sampled(
    groups: tuple[tuple[int, bool], ...], abstentions: int, k: int, seed: int
) -> Consensus:
    rng = random.Random(f"{seed} {groups} {abstentions} {k}")
    ballots: list[int | None] = [None] * abstentions
    for index, (count, _) in enumerate(groups):
        ballots += [index] * count
    total = 0.0
    for _ in range(MONTE_CARLO_DRAWS):
        votes = Counter(ballot for ballot in rng.sample(ballots, k) if ballot is not None)
        if votes:
            most = max(votes.values())
            winners = [groups[index][1] for index, count in votes.items() if count == most]
            total += sum(winners) / len(winners)
    return Consensus(total / MONTE_CARLO_DRAWS, MONTE_CARLO_DRAWS)


__all__ = ["MONTE_CARLO_DRAWS", "Consensus", "consensus_at_k"]
