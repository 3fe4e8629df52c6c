"""The current recorder, the dummy one, and how a recorder is found by name."""

from __future__ import annotations

import contextlib
import datetime
import secrets
from collections.abc import Iterator
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import chz

from nanoeval_core.errors import RecorderError
from nanoeval_core.recorder_protocol import (
    BasicRunSpec,
    RecorderConfig,
    RecorderProtocol,
    RunSpec,
    View,
)

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

ENTRY_POINT_GROUP = "nanoeval.recorders"

_current: ContextVar[RecorderProtocol | None] = ContextVar("nanoeval_recorder", default=None)
_run_spec: ContextVar[BasicRunSpec | None] = ContextVar("nanoeval_run_spec", default=None)


def get_recorder() -> RecorderProtocol:
    """The recorder of the attempt that is running, or the default one outside of attempts.

    Raises:
        RecorderError: none is current.
    """
    recorder = _current.get()
    if recorder is None:
        raise RecorderError(
            "no recorder is current: evaluate() runs inside nanoeval.run(spec); to call it on its "
            "own, wrap the call in `with nanoeval.recorder.dummy_recorder():`"
        )
    return recorder


class _Restore:
    """What `set_default_recorder` returns: leave it alone, or use it with `with` to undo."""

    def __init__(self, recorder: RecorderProtocol | None, token: Token[Any]) -> None:
        self._recorder = recorder
        self._token = token

    def __enter__(self) -> RecorderProtocol | None:
        return self._recorder

    def __exit__(self, *exc: object) -> None:
        _current.reset(self._token)


def set_default_recorder(recorder: RecorderProtocol | None) -> _Restore:
    """Make `recorder` what `get_recorder()` returns from here on, in this context.

    The returned object is a context manager: used with `with`, the former recorder comes back.
    """
    return _Restore(recorder, _current.set(recorder))


def bind_recorder(recorder: RecorderProtocol) -> None:
    """Make `recorder` current in a context that ends with its attempt; executors call it."""
    _current.set(recorder)


def current_run_spec() -> BasicRunSpec | None:
    """The ids of the run whose recorder is being built, for `RecorderConfig.factory`."""
    return _run_spec.get()


@contextlib.contextmanager
def using_run_spec(run_spec: BasicRunSpec) -> Iterator[None]:
    """Make `run_spec` the one that `current_run_spec()` returns; the runner's to call."""
    token = _run_spec.set(run_spec)
    try:
        yield
    finally:
        _run_spec.reset(token)


def utc_now() -> str:
    """The time as records have it: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat()


def new_run_spec(*, run_set_id: str, eval_name: str, model_name: str | None = None) -> BasicRunSpec:
    """A `BasicRunSpec` with a fresh `run_id`: sortable by time, unique by 32 random bits."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%y%m%d%H%M%S")
    return BasicRunSpec(
        run_id=f"{stamp}{secrets.token_hex(4).upper()}",
        run_set_id=run_set_id,
        eval_name=eval_name,
        model_name=model_name,
        created_at=utc_now(),
    )


class DummyRecorder:
    """Keeps nothing. Its own `AttemptRecorder` and `EventEncoder`: it costs nothing."""

    def __init__(
        self,
        run_spec: RunSpec | None = None,
        sample_id: str | None = None,
        group_id: str | None = None,
    ) -> None:
        self._run_spec = run_spec or BasicRunSpec(run_id="dummy", run_set_id="dummy")
        self._sample_id = sample_id
        self._group_id = group_id

    @property
    def run_spec(self) -> RunSpec:
        return self._run_spec

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def current_sample_id(self) -> str | None:
        return self._sample_id

    def current_group_id(self) -> str | None:
        return self._group_id

    @contextlib.contextmanager
    def as_default_recorder(
        self, sample_id: str, group_id: str, **extra: Any
    ) -> Iterator[DummyRecorder]:
        bound = self.attempt(sample_id, group_id)
        token = _current.set(bound)
        try:
            yield bound
        finally:
            _current.reset(token)

    def record_match(self, correct: bool, **extra: Any) -> None:
        pass

    def record_sampling(self, prompt: Any, sampled: Any, **extra: Any) -> None:
        pass

    def record_sample_completed(self, **extra: Any) -> None:
        pass

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None:
        pass

    def record_extra(self, data: Any) -> None:
        pass

    def record_final_report(self, final_report: Any) -> None:
        pass

    def evalboard_url(self, view: View) -> str | None:
        return None

    def attempt(self, sample_id: str | None, group_id: str | None) -> DummyRecorder:
        return DummyRecorder(self._run_spec, sample_id, group_id)

    def take(self, *, completed: bool) -> bytes:
        return b""

    def encoder(self) -> DummyRecorder:
        return self

    def write_events(self, events: object) -> None:
        pass

    def position(self) -> str:
        return ""

    def rewind(self, position: str) -> None:
        pass


@chz.chz
class DummyRecorderConfig(RecorderConfig):
    """Records nothing. As a context manager it makes a dummy recorder current."""

    async def factory(self, spec: EvalSpec, num_tasks: int) -> DummyRecorder:
        return DummyRecorder(current_run_spec())

    def __enter__(self) -> DummyRecorder:
        recorder = DummyRecorder()
        self.__dict__.setdefault("_tokens", []).append(_current.set(recorder))
        return recorder

    def __exit__(self, *exc: object) -> None:
        _current.reset(self.__dict__["_tokens"].pop())


def dummy_recorder() -> DummyRecorderConfig:
    """A recorder that keeps nothing.

    Use it as `RunnerArgs(recorder=dummy_recorder())`, or around direct calls of `evaluate`:
    `with dummy_recorder(): await my_eval.evaluate(task)`.
    """
    return DummyRecorderConfig()


def recorder_names() -> list[str]:
    """The names that `find_recorder` knows, sorted."""
    from importlib.metadata import entry_points  # noqa: PLC0415  slow: reads every package

    return sorted({"dummy", *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def find_recorder(name: str) -> Any:
    """What `name` stands for in the entry-point group `nanoeval.recorders`.

    Returns:
        A callable that gives a `RecorderConfig`, as the entry point names it.

    Raises:
        RecorderError: no installed package registers that name.
    """
    if name == "dummy":
        return dummy_recorder
    from importlib.metadata import entry_points  # noqa: PLC0415  slow: reads every package

    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return point.load()
    hint = (
        "install it with `pip install nanoeval-recorder`, or set RunnerArgs.recorder"
        if name in ("evallib", "json")
        else f"choose one of {', '.join(recorder_names())}, or name it as `module:function`"
    )
    raise RecorderError(f"no recorder is called {name!r}: {hint}")


class RecorderByName(chz.factories.standard):
    """Lets `runner.recorder=NAME` on the command line name an entry point or `module:function`."""

    def from_string(self, factory: str) -> Any:
        if ":" in factory:
            return super().from_string(factory)
        try:
            return find_recorder(factory)
        except RecorderError as error:
            raise chz.factories.MetaFromString(str(error)) from None
