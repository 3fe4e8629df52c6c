"""The log file of a run set: everything that is logged while it runs, as JSON Lines.

The driver and the processes of its pool each append to it, a line at a time. It is made at the
first record, and structlog is loaded then, on the thread that writes: a run of a dozen tasks with
nothing to report waits for neither.
"""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
import logging
import logging.handlers
import os
import queue
import reprlib
import sys
from pathlib import Path
from typing import Any

from nanoeval_core.fs_paths import user_folder

__all__ = [
    "RunLog",
    "log_file",
]

SUFFIX = ".log"


def log_file(run_set_id: str) -> Path:
    """Return where the log of a run set is, if anything was logged."""
    return user_folder("state") / "logs" / f"{run_set_id}{SUFFIX}"


class RunLog(logging.handlers.QueueHandler):
    """Takes every log record of the process until `finish`, and writes them on a thread.

    Levels are the loggers' business: `nanoeval_logging` has nanoeval's own at INFO, and without it
    warnings and errors arrive here.

    Args:
        run_set_id: whose log it is.
        executor: the name of the executor that this process is; None in the driver.
    """

    def __init__(self, run_set_id: str, *, executor: str | None = None) -> None:
        super().__init__(queue.SimpleQueue())
        self._run_set_id = run_set_id
        self._executor = executor
        self._listener: logging.handlers.QueueListener | None = None
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        # Python shows warnings on stderr while nobody handles them. Being here must not end that.
        shown = logging.lastResort
        if shown is not None and record.levelno >= shown.level and self._is_alone(record.name):
            shown.handle(record)
        super().emit(record)

    def _is_alone(self, name: str) -> bool:
        """Return whether a record of the logger `name` reaches run logs only, this one first."""
        root = logging.getLogger()
        logger: logging.Logger | None = logging.getLogger(name)
        handlers: list[logging.Handler] = []
        while logger is not None:
            handlers += logger.handlers
            logger = logger.parent
        others = any(not isinstance(handler, RunLog) for handler in handlers)
        return not others and root.handlers[0] is self

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Make `record` fit to be written later, on another thread.

        structlog's `wrap_for_formatter` puts the event dict where other records have a text. It
        stays one, for the file's formatter; here is the last place that knows the exception.
        """
        message: object = record.msg
        if not (isinstance(message, dict) and hasattr(record, "_logger")):
            prepared: logging.LogRecord = super().prepare(record)
            return prepared
        record, event = copy.copy(record), message.copy()
        record.msg = event
        if event.get("exc_info") is True:
            event["exc_info"] = sys.exc_info()
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._listener is None:
            file = _LogFile(log_file(self._run_set_id), self._executor)
            self._listener = logging.handlers.QueueListener(self.queue, file)
            self._listener.start()
        super().enqueue(record)

    async def finish(self) -> None:
        """Take no more, and write what is there."""
        logging.getLogger().removeHandler(self)
        if self._listener is not None:
            await asyncio.to_thread(self._listener.stop)
            for file in self._listener.handlers:
                file.close()
            self._listener = None
        self.close()


class _LogFile(logging.Handler):
    """Writes records to a file that only its owner can read."""

    def __init__(self, path: Path, executor: str | None) -> None:
        super().__init__()
        self._path = path
        self._executor = executor
        self._fd: int | None = None
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._failed:
            return
        try:
            if self._fd is None:
                self._fd = self._open()
            # One write, appending: lines of several processes do not mix.
            os.write(self._fd, (self._line(record) + "\n").encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._failed = True
            # Not to the log: that is what has failed. The console still has its part.
            os.write(2, f"warning: no log of this run: {self._path}: {error.strerror}\n".encode())

    def _line(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, whatever is in it: this thread writes those of everybody."""
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001  said in the line
            event = {
                "event": reprlib.repr(record.msg),
                "level": record.levelname.lower(),
                "logger": record.name,
                "problem": f"could not be formatted: {type(error).__name__}",
            }
            return json.dumps(event)

    def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.setFormatter(_json_formatter(self._executor))
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        super().close()


def _json_formatter(executor: str | None) -> logging.Formatter:
    import structlog  # noqa: PLC0415  heavy, and only runs that log something need it

    def describe(logger: Any, name: str, entry: Any) -> Any:
        """Add what a client's own processors, or plain logging, did not."""
        record: logging.LogRecord = entry["_record"]
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        described = {
            "timestamp": time.isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **entry,
        }
        described.pop("message", None)  # the event again, as QueueHandler leaves it
        return described if executor is None else {**described, "executor": executor}

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[
            describe,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
