"""What a recorder is, to those who write one.

Implement `RecorderProtocol` (any class with these methods will do) and a `RecorderConfig` that
builds it. That is enough: the runner collects what attempts record, and repeats the calls of
completed attempts on your recorder in the driver, on a thread of their own, so that a slow or
failing recorder never holds up or loses results. Registered in the entry-point group
`nanoeval.recorders`, it is found by its name.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import pkgutil
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, Protocol, Self, runtime_checkable

import chz

from nanoeval_core.by_name import entry_point_names, load_entry_point
from nanoeval_core.errors import ConfigError, NoCurrentRecorderError, RecorderError

__all__ = [
    "BasicRunSpec",
    "RecorderConfig",
    "RecorderProtocol",
    "RunSpec",
    "View",
    "check_run_set_id",
    "current_run_spec",
    "find_recorder",
    "measured_model",
    "new_run_spec",
    "recorder_names",
    "using_run_spec",
    "uuid",
]

View = Literal["run", "monitor"]

ENTRY_POINT_GROUP = "nanoeval.recorders"
# Ours are known without reading the metadata of every installed package.
_OURS = {
    "dummy": "nanoeval_core.recording:DummyRecorderConfig",
    "evallib": "nanoeval_recorder.evallib:evallib_recorder",
    "json": "nanoeval_recorder.json_lines:json_recorder",
}


class RunSpec(Protocol):
    """What identifies a run. Recorders may carry more in theirs."""

    @property
    def run_id(self) -> str: ...

    @property
    def run_set_id(self) -> str: ...


@dataclasses.dataclass
class BasicRunSpec:
    """The smallest useful `RunSpec`.

    Attributes:
        run_id: unique to one run of one eval.
        run_set_id: shared by the evals that were run together; names the state file.
        eval_name: `Eval.get_name()`.
        model_name: `RunnerArgs.model_name`, when given.
        created_at: UTC, ISO 8601.
    """

    run_id: str
    run_set_id: str
    eval_name: str = ""
    model_name: str | None = None
    created_at: str = ""


@runtime_checkable
class RecorderProtocol(Protocol):
    """Where an eval's events go."""

    run_spec: RunSpec

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return None

    def current_sample_id(self) -> str | None:
        """Return the `question_id` of the attempt being recorded, None outside of attempts."""
        return None

    def current_group_id(self) -> str | None:
        """Return the attempt and retry that are being recorded, as `attempt.retry`, or None."""
        return None

    def as_default_recorder(
        self, sample_id: str, group_id: str, **extra: Any
    ) -> AbstractContextManager[Any]:
        """Make `get_recorder()` return this recorder, bound to these ids, inside the `with`.

        Fields in `extra` go with every event that is recorded inside.
        """
        ...

    def record_match(
        self,
        correct: bool,
        *,
        expected: Any = None,
        picked: Any = None,
        prob_correct: float | None = None,
        **extra: Any,
    ) -> None: ...

    def record_sampling(
        self,
        prompt: Any,
        sampled: Any,
        *,
        extra_allowed_metadata_fields: list[str] | None = None,
        **extra: Any,
    ) -> None: ...

    def record_sample_completed(self, **extra: Any) -> None: ...

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None: ...

    def record_extra(self, data: Any) -> None: ...

    def record_final_report(self, final_report: Any) -> None: ...

    def evalboard_url(self, view: View) -> str | None:
        """Return where a person can look at this run, or None."""
        return None


@chz.chz
class RecorderConfig(ABC):
    """How to build a recorder: what `RunnerArgs.recorder` takes."""

    @abstractmethod
    async def factory(self, spec: Any, num_tasks: int) -> RecorderProtocol:
        """Build the recorder of one run.

        Args:
            spec: the run's `EvalSpec`; `spec.runner.run_set_id` is filled in, and
                `current_run_spec()` gives the ids of the run being set up. (The type is not
                named here because `EvalSpec` is made of `RecorderConfig`.)
            num_tasks: how many tasks the run has.
        """

    def _make_default_run_spec(self, spec: Any) -> BasicRunSpec:
        """Return the ids of the run that is being set up; new ones outside of the runner.

        Raises:
            LookupError: no run is being set up, and the spec names no run set.
        """
        known = current_run_spec()
        if known is not None:
            return known
        if spec.runner.run_set_id is None:
            raise NoCurrentRecorderError(
                "no run is being set up: pass the config as RunnerArgs.recorder, or set "
                "RunnerArgs.run_set_id to build a recorder outside of nanoeval.run"
            )
        return new_run_spec(
            run_set_id=spec.runner.run_set_id,
            eval_name=spec.eval.get_name(),
            model_name=spec.runner.model_name,
        )


_run_spec: ContextVar[BasicRunSpec | None] = ContextVar("nanoeval_run_spec", default=None)


def current_run_spec() -> BasicRunSpec | None:
    """Return the ids of the run whose recorder is being built, for `RecorderConfig.factory`."""
    return _run_spec.get()


@contextlib.contextmanager
def using_run_spec(run_spec: BasicRunSpec) -> Iterator[None]:
    """Make `run_spec` the one that `current_run_spec()` returns; the runner's to call."""
    token = _run_spec.set(run_spec)
    try:
        yield
    finally:
        _run_spec.reset(token)


def measured_model(arguments: Mapping[str, Any]) -> str | None:
    """Return the model that is measured: the eval's `model` or `model_name`, or its solver's.

    Args:
        arguments: the eval's, by path.
    """
    found: list[tuple[int, str]] = []
    for path, value in arguments.items():
        *parents, name = path.split(".")
        # A grader may ask a model too: that is not the one that is measured.
        is_model = name in ("model", "model_name") and "grader" not in parents
        if is_model and isinstance(value, str) and value:
            found.append((len(parents), value))
    return min(found, default=(0, None))[1]


def new_run_spec(*, run_set_id: str, eval_name: str, model_name: str | None = None) -> BasicRunSpec:
    """Return a `BasicRunSpec` with a fresh `run_id`."""
    created_at = datetime.datetime.now(datetime.UTC).isoformat()
    return BasicRunSpec(uuid(), run_set_id, eval_name, model_name, created_at)


def check_run_set_id(value: str) -> None:
    """Raise `ConfigError` unless `value` can name a file on every system."""
    plain = value.replace("-", "").replace("_", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum()) or value.startswith(".") or len(value) > 128:
        raise ConfigError(
            f"RunnerArgs.run_set_id={value!r}: it names a file: use up to 128 letters, digits, "
            "'-', '_' and '.'"
        )


def uuid() -> str:
    """Return a new id of 20 characters: sortable by time (UTC), unique by 40 random bits."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%y%m%d%H%M%S")
    return stamp + base64.b32encode(secrets.token_bytes(5)).decode()


def recorder_names() -> list[str]:
    """Return the names that `find_recorder` knows, sorted."""
    return sorted({"dummy", *entry_point_names(ENTRY_POINT_GROUP)})


def find_recorder(name: str) -> Any:
    """Return what `name` stands for: a callable that gives a `RecorderConfig`.

    Raises:
        RecorderError: no installed package registers that name.
    """
    if name in _OURS:
        try:
            return pkgutil.resolve_name(_OURS[name])
        except ModuleNotFoundError as error:
            if error.name != "nanoeval_recorder":
                raise
            raise RecorderError(
                f"no recorder is called {name!r}: install it with "
                "`pip install nanoeval-recorder`, or set RunnerArgs.recorder"
            ) from error
    found = load_entry_point(ENTRY_POINT_GROUP, name)
    if found is None:
        raise RecorderError(
            f"no recorder is called {name!r}: choose one of {', '.join(recorder_names())}, or "
            "name it as `module:function`"
        )
    return found
