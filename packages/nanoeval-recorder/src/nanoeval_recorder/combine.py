"""Recorders made of others: several as one, and one that leaves some of what is recorded out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import chz
import msgspec
from nanoeval_core.by_name import ByName
from nanoeval_core.errors import RecorderError
from nanoeval_core.recorder_adapter import as_transactional, unfolded_events
from nanoeval_core.recorder_protocol import RecorderConfig, View, find_recorder
from nanoeval_core.recording import EVENT_TYPES, TransactionalRecorder, dropped_types, load_events

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

__all__ = [
    "FilteredRecorderConfig",
    "TeeRecorder",
    "TeeRecorderConfig",
    "drop_samplings",
    "keep_one_in",
    "tee",
]

logger = logging.getLogger(__name__)


class TeeRecorder(TransactionalRecorder):
    """A `TransactionalRecorder` that passes every event on to each of its branches.

    A branch that fails is reported once and gets nothing more, until the run is resumed; the
    others go on. What it missed stays missing from it.
    """

    def __init__(self, branches: Sequence[TransactionalRecorder]) -> None:
        self.run_spec = branches[0].run_spec
        self.branches = list(branches)
        self.writes_at_once = all(branch.writes_at_once for branch in branches)
        self._failed: set[int] = set()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:  # the first ones are left when a later one fails
            for branch in self.branches:
                stack.enter_context(branch)
            stack.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._each(lambda branch: branch.__exit__(*exc), failed_too=True)

    def write_events(self, events: Sequence[bytes]) -> None:
        """Write what attempts took to each branch, encoded as that one has it.

        Raises:
            RecorderError: every branch has failed.
        """
        attempts = list(load_events(events))

        def write(branch: TransactionalRecorder) -> None:
            encode, chunks = branch.encode, []
            for attempt in attempts:
                if encode is None:
                    continue
                dropped = dropped_types(branch.filters, attempt[0].sample_id)
                chunks.append(
                    b"".join(
                        # A branch may change the fields of what it encodes.
                        encode(e.type, dict(e.data) if type(e.data) is dict else e.data, *e[2:])
                        for e in (attempt if branch.folds_dialogues else unfolded_events(attempt))
                        if e.type not in dropped
                    )
                )
            branch.write_events(chunks)

        self._each(write)
        if len(self._failed) == len(self.branches):
            raise RecorderError("all recorders of the tee have failed: nothing is recorded")

    def position(self) -> str:
        positions = [branch.position() for branch in self.branches]
        return msgspec.json.encode(positions).decode() if any(positions) else ""

    def rewind(self, position: str) -> None:
        """Rewind each branch.

        Raises:
            RecorderError: the position is of another tee, or a branch cannot go back.
        """
        afresh = [""] * len(self.branches)
        try:
            positions = msgspec.json.decode(position, type=list[str]) if position else afresh
        except msgspec.MsgspecError:
            positions = []
        if len(positions) != len(self.branches):
            raise RecorderError(
                f"{position!r} is no position of a tee of {len(self.branches)} recorders: resume "
                "a run with the recorder that it was started with"
            )
        for branch, at in zip(self.branches, positions, strict=True):
            branch.rewind(at)
        self._failed.clear()

    def record_final_report(self, final_report: Any) -> None:
        self._each(lambda branch: branch.record_final_report(final_report))

    def evalboard_url(self, view: View) -> str | None:
        return next((url for branch in self.branches if (url := branch.evalboard_url(view))), None)

    def _each(
        self, call: Callable[[TransactionalRecorder], object], *, failed_too: bool = False
    ) -> None:
        for number, branch in enumerate(self.branches, 1):
            if number in self._failed and not failed_too:
                continue
            try:
                call(branch)
            except Exception as error:
                if number not in self._failed:
                    self._failed.add(number)
                    logger.error(  # noqa: TRY400  with what failed in the line itself
                        "recorder %d of the tee (%s) failed and gets nothing more: %s: %s",
                        number,
                        type(branch).__name__,
                        type(error).__name__,
                        error,
                        exc_info=error,
                    )


@chz.chz
class TeeRecorderConfig(RecorderConfig):
    """Records to several recorders at once."""

    recorders: tuple[RecorderConfig, ...] = chz.field(doc="At least one.")

    @chz.validate
    def _check(self) -> None:
        if not self.recorders:
            raise ValueError("tee() needs at least one recorder")
        for recorder in self.recorders:
            if not callable(getattr(recorder, "factory", None)):
                raise ValueError(  # noqa: TRY004  what chz expects of a validator
                    f"tee() takes RecorderConfigs, such as json_recorder(), got {recorder!r}"
                )

    async def factory(self, spec: EvalSpec, num_tasks: int) -> TeeRecorder:
        built = [await recorder.factory(spec, num_tasks) for recorder in self.recorders]
        paths = [getattr(recorder, "path", None) for recorder in built]
        for path in filter(None, paths):
            if paths.count(path) > 1:
                raise RecorderError(
                    f"two recorders of the tee would write {path}: give them different log_dirs"
                )
        return TeeRecorder([as_transactional(recorder) for recorder in built])


def tee(*recorders: RecorderConfig) -> TeeRecorderConfig:
    """Record to all of `recorders`: `tee(evallib_recorder(), json_recorder())`."""
    return TeeRecorderConfig(recorders=tuple(recorders))


@chz.chz
class FilteredRecorderConfig(RecorderConfig):
    """Leaves out events of some types, before they cost anything."""

    recorder: RecorderConfig = chz.field(
        meta_factory=ByName(find_recorder), doc="The recorder that gets the rest."
    )
    types: tuple[str, ...] = chz.field(
        default=("sampling",), doc=f"The types to leave out, of: {', '.join(EVENT_TYPES)}."
    )
    keep_one_in: int = chz.field(
        default=0, doc="Keep those of one question in so many, the same in every run; 0: none."
    )

    @chz.validate
    def _check(self) -> None:
        unknown = [name for name in self.types if name not in EVENT_TYPES]
        if unknown or not self.types:
            raise ValueError(f"types={self.types!r}: choose some of {', '.join(EVENT_TYPES)}")
        if self.keep_one_in < 0:
            raise ValueError(f"keep_one_in={self.keep_one_in!r}: it cannot be negative")

    async def factory(self, spec: EvalSpec, num_tasks: int) -> TransactionalRecorder:
        recorder = as_transactional(await self.recorder.factory(spec, num_tasks))
        recorder.filters = (*recorder.filters, (frozenset(self.types), self.keep_one_in))
        return recorder


def drop_samplings(recorder: RecorderConfig) -> FilteredRecorderConfig:
    """Return `recorder` without samplings: matches, errors and reports only."""
    return FilteredRecorderConfig(recorder=recorder)


def keep_one_in(
    n: int, recorder: RecorderConfig, *, types: Iterable[str] = ("sampling",)
) -> FilteredRecorderConfig:
    """Return `recorder` with the events of `types` for one question in `n` only, and all others.

    Which questions depends on their ids alone, so that two runs keep the same ones.
    """
    if n < 1:
        raise ValueError(f"keep_one_in({n!r}, …): give a positive number")
    return FilteredRecorderConfig(recorder=recorder, types=tuple(types), keep_one_in=n)
