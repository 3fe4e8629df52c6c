"""Reads records back, event by event.

One file, a rotated one (name its first part) or a folder of them; evallib or json format,
compressed or not; ours, or written by the published `evals` package.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from nanoeval_core.dialogues import RecordedTurn, unfold
from nanoeval_core.errors import RecorderError

from nanoeval_recorder.folder import existing_parts
from nanoeval_recorder.reading._open import DamagedRecord, open_record
from nanoeval_recorder.reading.events import (
    CLASSES,
    Event,
    Extra,
    FinalReport,
    Metrics,
    OtherEvent,
    RecordedFile,
    RunStarted,
    Sampling,
    TaggedEvent,
)

__all__ = [
    "SUFFIXES",
    "first_event",
    "named_like_records",
    "open_record",
    "parse_event",
    "read",
    "read_record",
    "record_files",
    "record_parts",
    "unfolded",
]

LONGEST_SPEC = 1 << 26
"""Bytes of a first line: what has a longer one is another kind of file."""
SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz", ".log")
_LATER_PART = re.compile(r"(.+)\.\d{4,}(\.jsonl(?:\.zst|\.gz)?)")
DIALOGUES = 64
"""Samples and groups whose samplings are remembered: those of an attempt stand together."""

_decode_event = msgspec.json.Decoder(TaggedEvent).decode
_decode_any = msgspec.json.Decoder().decode
_UNREADABLE = msgspec.MsgspecError, RecursionError, UnicodeDecodeError
_TEXTS = ("run_id", "sample_id", "group_id", "created_at", "created_by")
_ENVELOPE = frozenset({*_TEXTS, "event_id", "type", "data"})
_JSON_ENVELOPE = frozenset({"timestamp", "record_type", "sample_id", "group_id"})
_MARKS = frozenset({"spec", "record_type", "run_id", "final_report"})
"""A line that has none of these is of another kind of file."""
_BOM = b"\xef\xbb\xbf"


def read(path: str | Path) -> Iterator[Event]:
    """Yield the events of a record, or of a folder of records one after the other.

    A last line that was only half written (the writer died, or is writing) ends the file there.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        RecorderError: a line in the middle is no JSON, or the file is no record.
    """
    for file in record_files(path):
        yield from read_record(file)


def record_files(path: str | Path) -> list[Path]:
    """Return the records that `path` names: itself, or those in a folder (first parts), sorted.

    What cannot be read in a folder (damaged, gone, a broken link) is no record.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"no record at {path}: give a file or a folder of records")
        return [path]
    return [file for file in sorted(named_like_records(path)) if _looks_like_record(file)]


def named_like_records(folder: Path) -> dict[Path, list[Path]]:
    """Return what may be a record in `folder`, by its name: its parts by the first of them.

    One walk for all: asking for the parts of each would walk the folder once for every record.
    """
    found = {file for file in folder.rglob("*") if file.name.endswith(SUFFIXES)}
    parts: dict[Path, list[Path]] = {}
    for file in sorted(found):
        match = _LATER_PART.fullmatch(file.name)
        first = file if match is None else file.with_name(match[1] + match[2])
        parts.setdefault(first if first in found else file, []).append(file)
    # By name, `x.0001.jsonl` comes before `x.jsonl`.
    return {first: [first, *(f for f in files if f != first)] for first, files in parts.items()}


def _looks_like_record(file: Path) -> bool:
    try:
        return first_event(file) is not None
    except (OSError, RecorderError):
        return False


def first_event(file: Path) -> Event | None:
    """Return what a record begins with; None when that is no event, or not there yet."""
    with open_record(file) as lines, contextlib.suppress(ValueError, DamagedRecord):
        return parse_event(lines.readline(LONGEST_SPEC))
    return None


def record_parts(file: Path) -> list[Path]:
    """Return the files of the record whose first part is `file`: one, unless it was rotated."""
    return [part for _, part in existing_parts(file)] or [file]


def read_record(file: Path) -> Iterator[Event]:
    """Yield the events of the record that begins with `file`."""
    return unfolded(_events(file))


def _events(file: Path) -> Iterator[Event]:
    run_id: str | None = None
    for part, path in existing_parts(file) or [(0, file)]:
        with open_record(path) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    event = parse_event(line, run_id)
                except ValueError as error:
                    if not line.strip():
                        continue
                    if not line.endswith(b"\n"):
                        break  # its writer has not ended it yet, or never will
                    raise RecorderError(f"{path}:{number} {error}") from error
                run_id = event.run_id or run_id
                if not part or not isinstance(event, RunStarted):
                    yield event


def unfolded(events: Iterable[Event]) -> Iterator[Event]:
    """Yield `events`, with what prompts of long dialogues repeat of earlier ones put back."""
    dialogues: OrderedDict[Any, list[RecordedTurn]] = OrderedDict()
    for event in events:
        if type(event) is Sampling and type(prompt := event.get("prompt")) is list:
            turns = dialogues.setdefault((event.run_id, event.sample_id, event.group_id), [])
            if len(dialogues) > DIALOGUES:
                dialogues.popitem(last=False)
            event.data["prompt"] = unfold(prompt, event.get("sampled"), turns)
        yield event


def parse_event(line: bytes, run_id: str | None = None) -> Event:
    """Return the event that one line of either format holds.

    Args:
        line: of a record.
        run_id: the run that it belongs to, where it does not say.

    Raises:
        ValueError: the line is no JSON, or no event of a record.
    """
    try:  # first what nearly all lines are: events of the evallib format
        event: Event = _decode_event(line)
    except _UNREADABLE:
        try:
            fields = _parse(line)
        except ValueError as error:
            raise ValueError(
                f"is no JSON: {error}. Was the file edited, or written by two processes?"
            ) from error
        if not isinstance(fields, dict) or _MARKS.isdisjoint(fields):
            raise ValueError(f"is no event of a record: {line[:100]!r}") from None
        return _from_fields(fields, run_id)
    return event


def _parse(line: bytes) -> Any:
    with contextlib.suppress(*_UNREADABLE):
        return _decode_any(line)
    try:
        # Python's own reads what the published package may write: NaN, lone surrogates.
        return json.loads(line.removeprefix(_BOM).decode())
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _from_fields(fields: dict[str, Any], run_id: str | None) -> Event:
    if "record_type" in fields:
        return _from_json_format(fields, run_id)
    if "type" not in fields and "spec" in fields:
        spec = fields["spec"]
        ids = spec if isinstance(spec, dict) else {}
        return _make(RunStarted, spec, run_id=ids.get("run_id"), created_at=ids.get("created_at"))
    if "type" not in fields and "final_report" in fields:
        return _make(FinalReport, fields["final_report"], run_id=fields.get("run_id") or run_id)
    event_id = fields.get("event_id")
    common = {"run_id": run_id, **{name: fields[name] for name in _TEXTS if name in fields}}
    return _make(
        str(fields.get("type")),
        fields.get("data"),
        event_id=event_id if type(event_id) is int else None,
        extra={k: v for k, v in fields.items() if k not in _ENVELOPE} or None,
        **common,
    )


def _from_json_format(fields: dict[str, Any], run_id: str | None) -> Event:
    record_type = str(fields["record_type"])
    own = {name: value for name, value in fields.items() if name not in _JSON_ENVELOPE}
    # The file's run: any `run_id`, `event_id` or `created_by` in a line is a recorded field.
    at = {"sample_id": fields.get("sample_id"), "group_id": fields.get("group_id")}
    at |= {"run_id": run_id, "created_at": fields.get("timestamp")}
    if record_type == "run_started":
        ids = own.get("run_spec")
        own |= ids if isinstance(ids, dict) else {}
        return _make(RunStarted, own, **{**at, "run_id": own.get("run_id")})
    if record_type == "final_report":
        at["run_id"] = own.get("run_id") or run_id
        return _make(FinalReport, own.get("final_report"), **at)
    if record_type == "file":
        return _make(RecordedFile, own.get("data"), **at, sha256=own.get("sha256"))
    if record_type == "extra":
        extra = {name: value for name, value in own.items() if name != "data"} or None
        return _make(Extra, own.get("data"), extra=extra, **at)
    if record_type == "sample_completed":
        own.pop("status", None)
        return _make(Metrics, {"completed": True, **own}, **at)
    if record_type == "error" and "error" in own:
        msg, said = own.pop("message", None), own.pop("error")
        told = {"type": own.pop("type", None), "message": msg if said is None else said}
        own = {**told, "msg": msg, **own}
    return _make(record_type, own, **at)


def _make(
    kind: type[Event] | str,
    data: Any,
    *,
    event_id: int | None = None,
    extra: dict[str, Any] | None = None,
    **texts: Any,
) -> Event:
    """Return an event of a class or type; `texts` are of whatever type a file has them of."""
    fields: dict[str, Any] = {k: v if v is None else str(v) for k, v in texts.items()}
    fields |= {"data": data, "event_id": event_id, "extra": extra}
    found = CLASSES.get(kind) if isinstance(kind, str) else kind
    return found(**fields) if found is not None else OtherEvent(name=str(kind), **fields)
