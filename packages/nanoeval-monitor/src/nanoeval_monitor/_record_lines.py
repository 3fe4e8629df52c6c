"""The lines of a record with where they are, so that an index can find them again.

Compressed records can only be read from their beginning: going on, and reading one attempt,
takes as long as decompressing what comes before it.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from nanoeval_core.errors import RecorderError
from nanoeval_recorder.reading.events import Event
from nanoeval_recorder.reading.reader import open_record, parse_event, record_parts

_SPAN = struct.Struct("<HQI")
FINGERPRINT = 64
"""Bytes before the place read up to that must still be there when reading goes on."""


class Place(NamedTuple):
    """An offset, in decompressed bytes, into part number `part` of a record."""

    part: int
    offset: int


class RecordLine(NamedTuple):
    """A whole line: its bytes, and where in which part of the record they are."""

    part: int
    offset: int
    content: bytes


def extended(spans: bytes, part: int, offset: int, length: int) -> bytes:
    """Return where the lines of an attempt are, with one more: neighbors are one span."""
    if spans:
        last_part, start, size = _SPAN.unpack_from(spans, len(spans) - _SPAN.size)
        if last_part == part and start + size == offset and size + length < 1 << 32:
            return spans[: -_SPAN.size] + _SPAN.pack(part, start, size + length)
    return spans + _SPAN.pack(part, offset, length)


def size_of(record: Path) -> int:
    """Return bytes on disk, over all parts."""
    return sum(part.stat().st_size for part in record_parts(record))


def lines_after(record: Path, place: Place) -> Generator[RecordLine, None, None]:
    """Yield the whole lines after `place`. A half-written last line is left for later."""
    parts = record_parts(record)
    for number in range(place.part, len(parts)):
        offset = place.offset if number == place.part else 0
        with open_record(parts[number]) as stream:
            _skip_to(stream, offset)
            for content in stream:
                if not content.endswith(b"\n") and not _is_whole(content):
                    break
                yield RecordLine(number, offset, content)
                offset += len(content)


def bytes_before(record: Path, place: Place) -> bytes:
    """Return the last bytes before `place`: they tell if the record was cut and rewritten."""
    start = max(0, place.offset - FINGERPRINT)
    parts = record_parts(record)
    if place.part >= len(parts):
        return b""
    with open_record(parts[place.part]) as stream:
        _skip_to(stream, start)
        return stream.read(place.offset - start)


def events_at(record: Path, spans: Sequence[bytes]) -> list[list[Event]]:
    """Return the events of several attempts, each by its packed spans."""
    parts = record_parts(record)
    wanted = sorted(
        (part, offset, length, index)
        for index, packed in enumerate(spans)
        for part, offset, length in _SPAN.iter_unpack(packed)
    )
    found: list[list[Event]] = [[] for _ in spans]
    try:
        for number, in_part in itertools.groupby(wanted, lambda one: one[0]):
            position = 0
            with open_record(parts[number]) as stream:
                for _, offset, length, index in in_part:
                    _skip_to(stream, offset, position)
                    lines = stream.read(length).splitlines(keepends=True)
                    position = offset + length
                    found[index] += map(parse_event, lines)
    except (ValueError, IndexError) as error:
        raise RecorderError(
            f"{record} is no longer what its index describes ({error}): reload the page"
        ) from error
    return found


def _skip_to(stream: BinaryIO, offset: int, position: int = 0) -> None:
    if stream.seekable():
        stream.seek(offset)
        return
    left = offset - position
    while left > 0:
        skipped = len(stream.read(min(left, 1 << 20)))
        if not skipped:
            return
        left -= skipped


def _is_whole(line: bytes) -> bool:
    """Return whether a last line without its newline is whole: half a JSON object never is."""
    try:
        parse_event(line)
    except ValueError:
        return False
    return True
