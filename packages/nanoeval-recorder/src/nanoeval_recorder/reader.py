"""Reads records back, event by event.

One file, a rotated one (name its first part) or a folder of them; evallib or json format,
compressed or not; ours, or written by the published `evals` package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from nanoeval_core.errors import RecorderError

from nanoeval_recorder._decompression import DamagedRecord, open_decompressed
from nanoeval_recorder._record_file import existing_parts, split_name
from nanoeval_recorder.events import (
    CLASSES,
    ErrorEvent,
    Event,
    FinalReport,
    Metrics,
    OtherEvent,
    RunStarted,
    TaggedEvent,
)

BUFFER = 1 << 20
LONGEST_SPEC = 1 << 26
"""Bytes of a first line: what has a longer one is another kind of file."""
SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz", ".log")

_decode_event = msgspec.json.Decoder(TaggedEvent).decode
_decode_any = msgspec.json.Decoder().decode
_ENVELOPE = frozenset(
    {"run_id", "event_id", "sample_id", "group_id", "data", "type", "created_at", "created_by"}
)
_JSON_ENVELOPE = frozenset({"timestamp", "record_type", "sample_id", "group_id"})


def read(path: str | Path) -> Iterator[Event]:
    """The events of a record or of a folder of records, one after the other, as they are read.

    A last line that was only half written (the writer died, or is writing) ends the file there.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        RecorderError: a line in the middle is no JSON, or the file is no record.
    """
    for file in record_files(path):
        yield from read_record(file)


def record_files(path: str | Path) -> list[Path]:
    """The records that `path` names: itself, or those in a folder (first parts only), sorted.

    What cannot be read in a folder (damaged, gone, a broken link) is no record.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"no record at {path}: give a file or a folder of records")
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.name.endswith(SUFFIXES)]
    return [file for file in files if _first_part(file) == file and _looks_like_record(file)]


def _first_part(file: Path) -> Path:
    stem, suffix = split_name(file)
    name, dot, number = stem.rpartition(".")
    first = file.with_name(f"{name}{suffix}")
    is_part = dot and number.isdecimal() and len(number) >= 4 and first.exists()
    return first if is_part else file


def _looks_like_record(file: Path) -> bool:
    try:
        with open_record(file) as lines:
            fields = _parse(lines.readline(LONGEST_SPEC))
    except (OSError, ValueError, DamagedRecord):
        return False
    return isinstance(fields, dict) and _is_record_line(fields)


def _is_record_line(fields: dict[str, Any]) -> bool:
    return "spec" in fields or "record_type" in fields or "run_id" in fields


def open_record(file: Path) -> BinaryIO:
    """The bytes of a record, decompressed.

    Raises:
        DamagedRecord: while it is read: it cannot be decompressed.
    """
    if file.name.endswith((".zst", ".gz")):
        return open_decompressed(file)
    return file.open("rb", buffering=BUFFER)


def record_parts(file: Path) -> list[Path]:
    """The files of the record whose first part is `file`, in order: one, unless it was rotated."""
    return [part for _, part in existing_parts(file)] or [file]


def read_record(file: Path) -> Iterator[Event]:
    parts = existing_parts(file) or [(0, file)]
    run_id: str | None = None
    for part, part_file in parts:
        for event in _read_file(part_file, run_id):
            run_id = event.run_id or run_id
            if not part or not isinstance(event, RunStarted):
                yield event


def _read_file(file: Path, run_id: str | None) -> Iterator[Event]:
    with open_record(file) as lines:
        for number, line in enumerate(lines, 1):
            try:
                # The order matters for speed: nearly all lines are events of the evallib format.
                event: Event = _decode_event(line)
            except msgspec.MsgspecError:
                if not line.strip():
                    continue
                try:
                    event = _other_line(line, run_id)
                except ValueError as error:
                    if not line.endswith(b"\n"):
                        return  # its writer has not ended it yet, or never will
                    raise RecorderError(f"{file}:{number} {error}") from error
            run_id = event.run_id or run_id
            yield event


def parse_event(line: bytes) -> Event:
    """One line of either format."""
    try:
        event: Event = _decode_event(line)
    except msgspec.MsgspecError:
        return _from_fields(_parse(line), None)
    return event


def _other_line(line: bytes, run_id: str | None) -> Event:
    try:
        fields = _parse(line)
    except ValueError as error:
        raise ValueError(
            f"is no JSON: {error}. Was the file edited, or written by two processes?"
        ) from error
    if not isinstance(fields, dict) or not _is_record_line(fields):
        raise ValueError(f"is no event of a record: {line[:100]!r}")
    return _from_fields(fields, run_id)


def _parse(line: bytes) -> Any:
    try:
        return _decode_any(line)
    except (msgspec.MsgspecError, RecursionError):
        # Python's own reads what the published package may write: NaN, lone surrogates.
        return json.loads(line)


def _from_fields(fields: dict[str, Any], run_id: str | None) -> Event:
    if "record_type" in fields:
        return _from_json_format(fields, run_id)
    if "type" not in fields and "spec" in fields:
        spec = fields["spec"]
        ids = spec if isinstance(spec, dict) else {}
        return RunStarted(run_id=ids.get("run_id"), data=spec, created_at=ids.get("created_at"))
    if "type" not in fields and "final_report" in fields:
        return FinalReport(run_id=fields.get("run_id", run_id), data=fields["final_report"])
    common: dict[str, Any] = {
        "run_id": _text(fields.get("run_id", run_id)),
        "event_id": fields.get("event_id"),
        "sample_id": _text(fields.get("sample_id")),
        "group_id": _text(fields.get("group_id")),
        "data": fields.get("data"),
        "created_at": fields.get("created_at"),
        "created_by": fields.get("created_by"),
        "extra": {k: v for k, v in fields.items() if k not in _ENVELOPE} or None,
    }
    return _make(str(fields.get("type")), common)


def _from_json_format(fields: dict[str, Any], run_id: str | None) -> Event:
    record_type = fields["record_type"]
    own = {name: value for name, value in fields.items() if name not in _JSON_ENVELOPE}
    # Any other line's `run_id` is a field that the user recorded.
    says_run_id = record_type in ("run_started", "final_report")
    common: dict[str, Any] = {
        "run_id": own.get("run_id", run_id) if says_run_id else run_id,
        "sample_id": fields.get("sample_id"),
        "group_id": fields.get("group_id"),
        "created_at": fields.get("timestamp"),
        "data": own,
    }
    if record_type == "run_started":
        return RunStarted(**common)
    if record_type == "final_report":
        return FinalReport(**{**common, "data": own.get("final_report")})
    if record_type == "extra":
        extra = {name: value for name, value in own.items() if name != "data"} or None
        return CLASSES["extra"](**{**common, "data": own.get("data"), "extra": extra})
    if record_type == "sample_completed":
        return Metrics(**{**common, "data": {"completed": True, **own}})
    if record_type == "error" and "type_" not in own and "type" in own:
        return ErrorEvent(**common)
    return _make(record_type, common)


def _make(event_type: str, common: dict[str, Any]) -> Event:
    kind = CLASSES.get(event_type)
    return kind(**common) if kind is not None else OtherEvent(name=event_type, **common)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
