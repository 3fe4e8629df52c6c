"""What a record holds, as `read` gives it: one class for each type of event.

The two formats and the files of the published `evals` package give the same classes.
"""

from __future__ import annotations

import base64
from typing import Any, cast, get_args

import msgspec

__all__ = [
    "CLASSES",
    "ErrorEvent",
    "Event",
    "Extra",
    "FinalReport",
    "Match",
    "Metrics",
    "OtherEvent",
    "RawSample",
    "RecordedFile",
    "RunStarted",
    "Sampling",
    "TaggedEvent",
]


class Event(msgspec.Struct, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """One recorded event.

    Attributes:
        event_id: its number in the run, where the format has one.
        sample_id: the task's `question_id`; None for what was recorded outside of attempts.
        group_id: `attempt.retry`; None where the format has none.
        data: what was recorded, by field; anything JSON for `Extra`.
        created_at: UTC, ISO 8601.
        extra: further fields: what `as_default_recorder(…, **extra)` was given.
    """

    run_id: str | None = None
    event_id: int | None = None
    sample_id: str | None = None
    group_id: str | None = None
    data: Any = None
    created_at: str | None = None
    created_by: str | None = None
    extra: dict[str, Any] | None = None

    @property
    def type(self) -> str:
        """The type as the evallib format names it: `match`, `sampling`, …"""
        return str(type(self).__struct_config__.tag)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field of `data`, or `default` where it has none."""
        return self.data.get(name, default) if isinstance(self.data, dict) else default


class Match(Event, tag="match"):
    """How a reply compared with what was expected."""

    @property
    def correct(self) -> bool | None:
        return cast("bool | None", self.get("correct"))

    @property
    def expected(self) -> Any:
        return self.get("expected")

    @property
    def picked(self) -> Any:
        return self.get("picked")

    @property
    def prob_correct(self) -> float | None:
        return cast("float | None", self.get("prob_correct"))


class Sampling(Event, tag="sampling"):
    """What a model was asked and what it replied."""

    @property
    def prompt(self) -> Any:
        return self.get("prompt")

    @property
    def sampled(self) -> list[Any]:
        """The replies. A file of another writer may have a bare text: it counts as one reply."""
        sampled = self.get("sampled", [])
        return sampled if isinstance(sampled, list) else [sampled]


class Metrics(Event, tag="metrics"):
    """Numbers about one sample: of `record_sample_completed`, or the `evals` package's own."""

    @property
    def completed(self) -> bool:
        """Whether this is what `record_sample_completed` wrote."""
        return self.get("completed") is True


class ErrorEvent(Event, tag="error"):
    """Something that went wrong in an attempt."""

    @property
    def error_type(self) -> str | None:
        return cast("str | None", self.get("type"))

    @property
    def message(self) -> str | None:
        return cast("str | None", self.get("message"))


class Extra(Event, tag="extra"):
    """Whatever `record_extra` was given."""


class RawSample(Event, tag="raw_sample"):
    """A sample as the `evals` package found it in its data."""


class RecordedFile(Event, tag="file"):
    """A large text or an image that was kept once, under the `sha256` that events refer to."""

    sha256: str | None = None

    @property
    def content(self) -> bytes | str | None:
        """What was kept; None where it cannot be read."""
        text, coded = self.get("text"), self.get("base64")
        if isinstance(text, str):
            return text
        try:
            return base64.b64decode(coded, validate=True) if isinstance(coded, str) else None
        except ValueError:
            return None


class OtherEvent(Event, tag="other"):
    """An event of a type that has no class here; `name` is that type."""

    name: str = ""

    @property
    def type(self) -> str:
        return self.name


class RunStarted(Event, tag="spec"):
    """The first line of a record: what was run. `data` is the spec."""

    @property
    def spec(self) -> dict[str, Any]:
        return self.data if isinstance(self.data, dict) else {}

    @property
    def eval_name(self) -> str | None:
        return cast("str | None", self.get("eval_name"))

    @property
    def run_set_id(self) -> str | None:
        return cast("str | None", self.get("run_set_id"))

    @property
    def model(self) -> str | None:
        names = self.get("completion_fns")
        if isinstance(names, list) and names:
            return str(names[0])
        name = self.get("model_name")  # as the first releases of evals called it
        return name if isinstance(name, str) else None


class FinalReport(Event, tag="final_report"):
    """The last line of a finished run. `data` is the report."""

    @property
    def final_report(self) -> Any:
        return self.data


TaggedEvent = Match | Sampling | Metrics | ErrorEvent | Extra | RawSample | RecordedFile
CLASSES: dict[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(TaggedEvent)
}
