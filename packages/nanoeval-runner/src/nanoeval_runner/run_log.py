"""The log file of a run set: everything that is logged while it runs, as JSON Lines.

The driver and the processes of its pool each append to it, a line at a time. It is made at the
first record, and structlog is loaded then: a run with nothing to report does not wait for that.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import reprlib
from pathlib import Path
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.fs_paths import user_folder

__all__ = [
    "RunLog",
    "log_file",
]


def log_file(run_set_id: str) -> Path:
    """Return where the log of a run set is, if anything was logged."""
    return user_folder("state") / "logs" / f"{run_set_id}.log"


class RunLog(logging.Handler):
    """Writes every log record of the process until `finish`, to a file for its owner alone.

    Levels are the loggers' business: `nanoeval_logging` has nanoeval's own at INFO, and without it
    warnings and errors arrive here.

    Args:
        run_set_id: whose log it is.
        executor: the name of the executor that this process is; None in the driver.
    """

    def __init__(self, run_set_id: str, *, executor: str | None = None) -> None:
        super().__init__()
        self._run_set_id = run_set_id
        self._executor = executor
        self._fd: int | None = None
        self._is_over = False
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        # Python shows warnings on stderr while nobody handles them. Being here must not end that.
        shown = logging.lastResort
        if shown is not None and record.levelno >= shown.level and self._is_alone(record.name):
            shown.handle(record)
        if self._is_over:
            return
        try:
            if self._fd is None:
                path = log_file(self._run_set_id)
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.setFormatter(_json_formatter(self._executor))
                self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            # One write, appending: lines of several processes do not mix.
            os.write(self._fd, (self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except (OSError, ConfigError) as error:  # no room, say, or a user without a home folder
            self._is_over = True
            # Not to the log: that is what has failed. The console, if any, still has its part.
            with contextlib.suppress(OSError):
                os.write(2, f"warning: no log of this run: {error}\n".encode())

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

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, whatever is in it."""
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001  said in the line
            event = {
                "event": reprlib.repr(record.msg),
                "level": record.levelname.lower(),
                "logger": record.name,
                "problem": f"could not be formatted: {type(error).__name__}",
            }
            return json.dumps(event)

    def finish(self) -> None:
        """Take no more."""
        logging.getLogger().removeHandler(self)
        self.acquire()  # another thread may be writing, or about to
        self._is_over = True
        if self._fd is not None:
            os.close(self._fd)
        self.release()
        self.close()


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
