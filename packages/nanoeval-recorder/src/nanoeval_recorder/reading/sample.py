"""Attempts, put together from the events of a record."""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from nanoeval_recorder.reading.events import ErrorEvent, Event, Match, RunStarted, Sampling
from nanoeval_recorder.reading.reader import read_record, record_files

__all__ = ["RecordedSample", "attempt_and_retry", "samples", "samples_of"]

_WINDOW = 16  # attempts after which one of ours is known to be over


@dataclasses.dataclass(slots=True)
class RecordedSample:
    """One attempt: all events recorded under its ids.

    Attributes:
        sample_id: the task's `question_id`.
        group_id: `attempt.retry`; None in files of the published `evals` package.
        events: in the order in which they were recorded.
    """

    run_id: str | None
    sample_id: str
    group_id: str | None
    events: list[Event]

    @property
    def attempt(self) -> int:
        """Which attempt at the question this was, from 1."""
        return attempt_and_retry(self.group_id or "")[0]

    @property
    def retry(self) -> int:
        """How often the attempt had been retried before this, from 0."""
        return attempt_and_retry(self.group_id or "")[1]

    @property
    def matches(self) -> list[Match]:
        return [event for event in self.events if isinstance(event, Match)]

    @property
    def match(self) -> Match | None:
        """The last match, or None."""
        return next(reversed(self.matches), None)

    @property
    def correct(self) -> bool | None:
        """Whether the last match was correct; None without one."""
        match = self.match
        return None if match is None else match.correct

    @property
    def samplings(self) -> list[Sampling]:
        return [event for event in self.events if isinstance(event, Sampling)]

    @property
    def errors(self) -> list[ErrorEvent]:
        return [event for event in self.events if isinstance(event, ErrorEvent)]


@functools.lru_cache(maxsize=1000)  # nearly all attempts have one of a few
def attempt_and_retry(group_id: str) -> tuple[int, int]:
    """Return which attempt, from 1, and which retry, from 0, a `group_id` names."""
    attempt, _, retry = group_id.partition(".")
    return int(attempt) if attempt.isdecimal() else 1, int(retry) if retry.isdecimal() else 0


def samples(path: str | Path) -> Iterator[RecordedSample]:
    """Yield the attempts in a record or a folder of records, each with its events.

    In order of their first events. Records of ours are read with flat memory; those of other
    writers, whose attempts may interleave without bound, are held one file at a time.
    """
    for file in record_files(path):
        yield from samples_of(read_record(file))


def samples_of(events: Iterator[Event]) -> Iterator[RecordedSample]:
    """Yield the attempts in the events of one record, as `samples` gives them."""
    window: int | None = None
    # Ordered: the oldest goes in constant time, which a dict's does not.
    current: OrderedDict[tuple[str | None, ...], RecordedSample] = OrderedDict()
    for event in events:
        sample_id = event.sample_id
        if sample_id is None:
            if isinstance(event, RunStarted):
                window = _WINDOW if event.run_set_id is not None else None
            continue
        key = event.run_id, sample_id, event.group_id
        found = current.get(key)
        if found is None:
            found = current[key] = RecordedSample(*key, [])
            if window is not None and len(current) > window:
                yield current.popitem(last=False)[1]
        found.events.append(event)
    yield from current.values()
