"""What a record says of its run as a whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from nanoeval_core.errors import RecorderError

from nanoeval_recorder.reading.events import FinalReport, Match, RunStarted
from nanoeval_recorder.reading.reader import read_record, record_files

__all__ = ["Report", "report", "reports"]


class Report(dict[str, Any]):
    """The final report, with what else the record tells. Empty when the run has not finished.

    Attributes:
        spec: what was run.
        final_report: the final report as it was written; None when the run has not finished.
        events: the number of events by type.
        samples: how many questions have a match.
        accuracy: the mean over questions of the mean of their matches; None without matches.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.run_id: str | None = None
        self.spec: dict[str, Any] = {}
        self.final_report: Any = None
        self.is_complete = False
        self.events: Counter[str] = Counter()
        self._matches: dict[str | None, list[int]] = {}
        for event in read_record(path):
            self.run_id = event.run_id or self.run_id
            if isinstance(event, RunStarted):
                self.spec = event.spec
            elif isinstance(event, FinalReport):
                report = event.data if isinstance(event.data, dict) else {}
                self.is_complete = not report.get("partial")
                self.final_report = event.data
                self.clear()
                self.update(report)
            else:
                self.events[event.type] += 1
                if isinstance(event, Match) and isinstance(event.correct, bool):
                    tally = self._matches.setdefault(event.sample_id, [0, 0])
                    tally[0] += event.correct
                    tally[1] += 1
        self.errors = self.events["error"]

    @property
    def samples(self) -> int:
        return len(self._matches)

    @property
    def accuracy(self) -> float | None:
        if not self._matches:
            return None
        return sum(right / n for right, n in self._matches.values()) / len(self._matches)


def report(path: str | Path) -> Report:
    """Return the report of the run recorded at `path`, a file or a folder with one record.

    Raises:
        RecorderError: the folder holds several records, or none.
    """
    found = record_files(path)
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5])
        raise RecorderError(
            f"{path} holds {len(found)} records{': ' + names if names else ''}: name one of them, "
            "or use reports(path) for all"
        )
    return Report(found[0])


def reports(path: str | Path) -> list[Report]:
    """Return the reports of all runs recorded at `path`, in order of their files' names."""
    return [Report(file) for file in record_files(path)]
