"""Recorders that leave some of what is recorded out, before it costs anything."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import chz
from nanoeval_core.recorder import RecorderByName
from nanoeval_core.recorder_direct import DirectRecording
from nanoeval_core.recorder_protocol import (
    AttemptRecorder,
    EventEncoder,
    RecorderConfig,
    RunSpec,
    TransactionalRecorder,
    View,
)
from nanoeval_core.recorder_replay import as_transactional

from nanoeval_recorder._forwarding import METHOD_OF_TYPE, ForwardingAttempt

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec


class FilteredAttempt(ForwardingAttempt):
    """Passes on all but some methods."""

    def __init__(self, target: AttemptRecorder, dropped: frozenset[str]) -> None:
        super().__init__([target])
        self._dropped = dropped

    def takes(self, method: str) -> bool:
        return method not in self._dropped

    def with_targets(self, targets: Sequence[AttemptRecorder]) -> FilteredAttempt:
        return FilteredAttempt(targets[0], self._dropped)

    def take(self, *, completed: bool) -> bytes:
        return self.targets[0].take(completed=completed)


@dataclasses.dataclass(frozen=True)
class FilterEncoder:
    """Drops the calls of `dropped`, but for one question in `keep_one_in` (0: for none)."""

    inner: EventEncoder
    dropped: frozenset[str]
    keep_one_in: int

    def attempt(self, sample_id: str | None, group_id: str | None) -> AttemptRecorder:
        attempt = self.inner.attempt(sample_id, group_id)
        if self.keep_one_in and chosen(sample_id or "", self.keep_one_in):
            return attempt
        return FilteredAttempt(attempt, self.dropped)


def chosen(sample_id: str, n: int) -> bool:
    """Whether a question is the one in `n` that is kept: the same in every run."""
    return zlib.crc32(sample_id.encode("utf-8", "backslashreplace")) % n == 0


class FilteredRecorder(DirectRecording):
    """A `TransactionalRecorder` in front of another."""

    def __init__(
        self, inner: TransactionalRecorder, *, dropped: frozenset[str], keep_one_in: int
    ) -> None:
        self._inner = inner
        self._dropped = dropped
        self._keep_one_in = keep_one_in

    @property
    def run_spec(self) -> RunSpec:
        return self._inner.run_spec

    @property
    def writes_at_once(self) -> bool:
        return getattr(self._inner, "writes_at_once", False)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inner.__exit__(exc_type, exc, traceback)

    def encoder(self) -> FilterEncoder:
        return FilterEncoder(self._inner.encoder(), self._dropped, self._keep_one_in)

    def write_events(self, events: Sequence[bytes]) -> None:
        self._inner.write_events(events)

    def position(self) -> str:
        return self._inner.position()

    def rewind(self, position: str) -> None:
        self._inner.rewind(position)

    def record_final_report(self, final_report: Any) -> None:
        self._inner.record_final_report(final_report)

    def evalboard_url(self, view: View) -> str | None:
        return self._inner.evalboard_url(view)


@chz.chz
class FilteredRecorderConfig(RecorderConfig):
    """Leaves out events of some types."""

    recorder: RecorderConfig = chz.field(
        meta_factory=RecorderByName(), doc="The recorder that gets the rest."
    )
    types: tuple[str, ...] = chz.field(
        default=("sampling",), doc=f"The types to leave out, of: {', '.join(METHOD_OF_TYPE)}."
    )
    keep_one_in: int = chz.field(
        default=0, doc="Keep those of one question in so many, the same in every run; 0: none."
    )

    @chz.validate
    def _check(self) -> None:
        unknown = [name for name in self.types if name not in METHOD_OF_TYPE]
        if unknown or not self.types:
            raise ValueError(f"types={self.types!r}: choose some of {', '.join(METHOD_OF_TYPE)}")
        if self.keep_one_in < 0:
            raise ValueError(f"keep_one_in={self.keep_one_in!r}: it cannot be negative")

    async def factory(self, spec: EvalSpec, num_tasks: int) -> FilteredRecorder:
        return FilteredRecorder(
            as_transactional(await self.recorder.factory(spec, num_tasks)),
            dropped=frozenset(METHOD_OF_TYPE[name] for name in self.types),
            keep_one_in=self.keep_one_in,
        )


def drop_samplings(recorder: RecorderConfig) -> FilteredRecorderConfig:
    """`recorder` without samplings: matches, errors and reports only."""
    return FilteredRecorderConfig(recorder=recorder)


def keep_one_in(
    n: int, recorder: RecorderConfig, *, types: Iterable[str] = ("sampling",)
) -> FilteredRecorderConfig:
    """`recorder` with the events of `types` for one question in `n` only, and all others.

    Which questions depends on their ids alone, so that two runs keep the same ones.
    """
    if n < 1:
        raise ValueError(f"keep_one_in({n!r}, …): give a positive number")
    return FilteredRecorderConfig(recorder=recorder, types=tuple(types), keep_one_in=n)
