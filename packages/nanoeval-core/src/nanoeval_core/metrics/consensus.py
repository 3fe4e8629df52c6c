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
    """Return cons@k of one question.

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
    if abstentions == 0 and all(right for _, right in groups):
        return Consensus(1.0, 0)
    largest = min(k, max((count for count, _ in groups), default=1))
    winners = Counter(count for count, right in groups if right)
    if len(winners) * n * k * k * (1.0 + math.log(largest)) > _EXACT_STEPS:
        return _sampled(groups, abstentions, k, seed)
    ways: Counter[int] = Counter()  # subsets in which a given correct group wins, by groups tied
    for count, alike in winners.items():
        rivals = [rival for rival, _ in groups]
        rivals.remove(count)
        for votes in range(1, min(k, count) + 1):
            given = alike * math.comb(count, votes)
            for tied, number in _rivals(rivals, abstentions, k - votes, votes).items():
                ways[1 + tied] += given * number
    # Whole numbers until here: Python divides them exactly however large they are.
    shares = (number / (tied * math.comb(n, k)) for tied, number in ways.items())
    return Consensus(min(1.0, math.fsum(shares)), 0)


def _rivals(counts: Sequence[int], abstentions: int, places: int, votes: int) -> dict[int, int]:
    """Return how many ways rivals have to take the places a winner leaves, by rivals tied.

    Args:
        counts: attempts of each rival group.
        abstentions: attempts without an answer, which take places too.
        places: how many there are to take.
        votes: of the winner; a rival with as many is tied, none has more.
    """
    table = Counter({(0, 0): 1})  # (places taken, rivals tied) → ways
    for count in counts:
        if count >= votes:
            following: Counter[tuple[int, int]] = Counter()
            for (taken, tied), number in table.items():
                for take in range(min(votes, places - taken) + 1):
                    key = taken + take, tied + (take == votes)
                    following[key] += number * math.comb(count, take)
            table = following
    # Groups that cannot reach `votes` take the places left as they like, like abstentions.
    free = abstentions + sum(count for count in counts if count < votes)
    ways: Counter[int] = Counter()
    for (taken, tied), number in table.items():
        ways[tied] += number * math.comb(free, places - taken)
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
