"""The queue's decisions: how slots are shared, when a retry starts, how much is claimed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoeval_runner._queue.states import (
    MAX_BACKOFF,
    Demand,
    next_chunk,
    retry_delay,
    share,
)

demands = st.lists(
    st.builds(
        Demand,
        eval_id=st.integers(1, 10**6),
        queued=st.integers(0, 5000),
        leased=st.integers(0, 5000),
        limit=st.none() | st.integers(1, 5000),
    ),
    max_size=12,
    unique_by=lambda demand: demand.eval_id,
)
rooms = st.none() | st.integers(-50, 10_000)


@given(st.integers(0, 5000), demands, rooms)
def test_shares_exceed_no_limit(want: int, asked: list[Demand], global_room: int | None) -> None:
    shares = share(want, asked, global_room=global_room)
    room = {demand.eval_id: demand.room for demand in asked}
    assert all(0 < part <= room[eval_id] for eval_id, part in shares.items())
    assert sum(shares.values()) <= want
    if global_room is not None:
        assert sum(shares.values()) <= max(0, global_room)


@given(st.integers(0, 5000), demands, rooms)
def test_shares_leave_no_slot_that_could_be_used(
    want: int, asked: list[Demand], global_room: int | None
) -> None:
    usable = sum(demand.room for demand in asked)
    offered = want if global_room is None else min(want, max(0, global_room))
    assert sum(share(want, asked, global_room=global_room).values()) == min(usable, offered)


@given(st.integers(0, 5000), demands)
def test_shares_differ_by_one_unless_an_eval_needs_less(want: int, asked: list[Demand]) -> None:
    shares = share(want, asked, global_room=None)
    hungry = [d for d in asked if d.room > shares.get(d.eval_id, 0)]
    got = [shares.get(d.eval_id, 0) for d in hungry]
    if got:
        assert max(got) - min(got) <= 1
        # Nobody who had enough got more than those who did not, by more than the rounding.
        assert all(part <= min(got) + 1 for part in shares.values())


@given(demands)
def test_too_few_slots_go_to_the_least_busy(asked: list[Demand]) -> None:
    hungry = [demand for demand in asked if demand.room > 0]
    for want in range(min(len(hungry), 4)):
        got = share(want, asked, global_room=None)
        served = [d.leased for d in hungry if d.eval_id in got]
        unserved = [d.leased for d in hungry if d.eval_id not in got]
        assert not served or not unserved or max(served) <= min(unserved)


def test_an_eval_at_its_limit_gets_nothing_and_blocks_nobody() -> None:
    stuck = Demand(eval_id=1, queued=100, leased=4, limit=4)
    over = Demand(eval_id=2, queued=100, leased=9, limit=4)  # lowered while it ran
    free = Demand(eval_id=3, queued=100, leased=50, limit=None)
    assert share(20, [stuck, over, free], global_room=None) == {3: 20}


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.floats(0, 1e6, allow_nan=False),
    st.integers(),
)
def test_retries_end_and_wait_at_most_the_longest_backoff(
    retry_idx: int, max_retries: int, backoff: float, seed: int
) -> None:
    delay = retry_delay(
        retry_idx, max_retries=max_retries, backoff=backoff, rng=random.Random(seed)
    )
    if retry_idx >= max_retries:
        assert delay is None
    else:
        assert delay is not None
        assert 0 <= delay <= min(MAX_BACKOFF, backoff * 2.0 ** min(retry_idx, 32))


def test_retries_are_jittered_over_the_whole_interval() -> None:
    rng = random.Random(0)
    delays = [retry_delay(2, max_retries=9, backoff=0.1, rng=rng) or 0.0 for _ in range(2000)]
    assert min(delays) < 0.02 < 0.38 < max(delays) <= 0.4
    assert sum(delays) / len(delays) == pytest.approx(0.2, rel=0.1)


@given(st.integers(1, 512), st.just(0.0) | st.floats(1e-9, 100), st.integers(1, 512))
def test_chunks_stay_within_bounds_and_at_most_double(
    chunk: int, seconds: float, largest: int
) -> None:
    after = next_chunk(chunk, seconds=seconds, largest=largest)
    assert 1 <= after <= largest
    assert after <= 2 * chunk


def test_chunks_of_slow_starters_shrink_to_one() -> None:
    assert next_chunk(256, seconds=10.0, largest=512) == 1
    assert next_chunk(256, seconds=0.0, largest=512) == 512
