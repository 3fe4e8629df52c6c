"""Several recorders as one."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import chz
import msgspec
from nanoeval_core.errors import RecorderError
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

from nanoeval_recorder._forwarding import ForwardingAttempt

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

logger = logging.getLogger(__name__)

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[bytes]).decode


class TeeAttempt(ForwardingAttempt):
    """Collects one attempt's events for each branch."""

    def with_targets(self, targets: Sequence[AttemptRecorder]) -> TeeAttempt:
        return TeeAttempt(targets)

    def take(self, *, completed: bool) -> bytes:
        taken = [target.take(completed=completed) for target in self.targets]
        return _pack(taken) if any(taken) else b""


@dataclasses.dataclass(frozen=True)
class TeeEncoder:
    branches: tuple[EventEncoder, ...]

    def attempt(self, sample_id: str | None, group_id: str | None) -> TeeAttempt:
        return TeeAttempt([branch.attempt(sample_id, group_id) for branch in self.branches])


class TeeRecorder(DirectRecording):
    """A `TransactionalRecorder` that passes everything on to each of its branches.

    A branch that fails is reported once and gets nothing more, until the run is resumed; the
    others go on. What it missed stays missing from it.
    """

    def __init__(self, branches: Sequence[TransactionalRecorder]) -> None:
        self._branches = list(branches)
        self._failed: set[int] = set()

    @property
    def writes_at_once(self) -> bool:
        return all(getattr(branch, "writes_at_once", False) for branch in self._branches)

    @property
    def branches(self) -> Sequence[TransactionalRecorder]:
        return self._branches

    @property
    def run_spec(self) -> RunSpec:
        return self._branches[0].run_spec

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:  # the first ones are left when a later one fails
            for branch in self._branches:
                stack.enter_context(branch)
            stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._each(lambda _, branch: branch.__exit__(exc_type, exc, traceback), failed_too=True)

    def encoder(self) -> TeeEncoder:
        return TeeEncoder(tuple(branch.encoder() for branch in self._branches))

    def write_events(self, events: Sequence[bytes]) -> None:
        """Write what attempts took to each branch.

        Raises:
            RecorderError: every branch has failed.
        """
        taken = [_unpack(chunk) for chunk in events if chunk]
        self._each(lambda index, branch: branch.write_events([parts[index] for parts in taken]))
        if len(self._failed) == len(self._branches):
            raise RecorderError("all recorders of the tee have failed: nothing is recorded")

    def position(self) -> str:
        positions = [branch.position() for branch in self._branches]
        return msgspec.json.encode(positions).decode() if any(positions) else ""

    def rewind(self, position: str) -> None:
        """Rewind each branch.

        Raises:
            RecorderError: the position is of another tee, or a branch cannot go back.
        """
        positions = self._parse(position) if position else [""] * len(self._branches)
        for branch, at in zip(self._branches, positions, strict=True):
            branch.rewind(at)
        self._failed.clear()

    def _parse(self, position: str) -> list[str]:
        try:
            positions = msgspec.json.decode(position, type=list[str])
        except msgspec.MsgspecError:
            positions = []
        if len(positions) != len(self._branches):
            raise RecorderError(
                f"{position!r} is no position of a tee of {len(self._branches)} recorders: resume "
                "a run with the recorder that it was started with"
            )
        return positions

    def record_final_report(self, final_report: Any) -> None:
        self._each(lambda _, branch: branch.record_final_report(final_report))

    def evalboard_url(self, view: View) -> str | None:
        urls = [branch.evalboard_url(view) for branch in self._branches]
        return next((url for url in urls if url), None)

    def _each(
        self, call: Callable[[int, TransactionalRecorder], object], *, failed_too: bool = False
    ) -> None:
        for index, branch in enumerate(self._branches):
            if index in self._failed and not failed_too:
                continue
            try:
                call(index, branch)
            except Exception as error:  # noqa: BLE001  reported; the other branches go on
                self._report(index, branch, error)

    def _report(self, index: int, branch: TransactionalRecorder, error: Exception) -> None:
        if index not in self._failed:
            self._failed.add(index)
            logger.error(
                "recorder %d of the tee (%s) failed and gets nothing more: %s: %s",
                index + 1,
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
