"""Logging of clients that set structlog up on top of `LibraryConfig.setup_logging`."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from nanoeval.library_config import ENV_NANOEVAL_LOG_ALL, PrintOrWarningFilter

from tests.support.script import run_python

SCRIPT = """
import asyncio, logging, sys
import chz, structlog
import nanoeval
from nanoeval.library_config import LibraryConfig, set_library_config
from nanoeval.recorder import dummy_recorder
from nanoeval.setup import nanoeval_entrypoint, nanoeval_logging

log = structlog.stdlib.get_logger(component="mine")


class Own(LibraryConfig):
    def setup_logging(self):
        super().setup_logging()
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.StackInfoRenderer(),
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
        )


@chz.chz
class Talking(nanoeval.Eval):
    def get_name(self):
        return "talking"

    async def get_tasks(self):
        return [nanoeval.Task(question_id="q")]

    async def evaluate(self, task):
        log.info("hidden", secret=1)
        log.info("shown", _print=True, number=2)
        log.warning("careful", value={1, 2})
        logging.getLogger("plain").info("plain hidden")
        logging.getLogger("plain").warning("plain %s", "shown")
        log.info({"not": "text"})
        try:
            1 / 0
        except ZeroDivisionError:
            log.exception("failed")
        log.info("last")
        return 1

    async def get_summary(self, results):
        return {"n": len(results)}


async def main():
    set_library_config(Own())
    nanoeval_logging()
    nanoeval_logging()
    runner = nanoeval.RunnerArgs(run_set_id="mine", recorder=dummy_recorder(), should_backup=False)
    await nanoeval.run(nanoeval.EvalSpec(eval=Talking(), runner=runner))


nanoeval_entrypoint(main())
"""


@pytest.mark.parametrize("everything", ["", "1"])
def test_event_dicts_reach_the_console_and_the_runs_log(tmp_path: Path, everything: str) -> None:
    script = tmp_path / "talking.py"
    script.write_text(SCRIPT, "utf-8")
    done = run_python(script, folder=tmp_path, NANOEVAL_LOG_ALL=everything)
    assert done.returncode == 0, done.stderr
    shown = done.stderr.splitlines()
    for word in ("shown", "careful", "plain shown", "failed", "ZeroDivisionError"):
        assert any(word in line for line in shown), word
    assert sum("careful" in line for line in shown) == 1, "set up twice, shown once"
    assert any("mine" in line for line in shown if "careful" in line), "the component"
    assert any("hidden" in line for line in shown) == bool(everything)

    (file,) = (tmp_path / "home").rglob("mine.log")
    entries = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    events = [str(entry["event"]) for entry in entries]
    for word in ("hidden", "shown", "careful", "plain hidden", "plain shown", "failed", "last"):
        assert word in events
    assert events[-1].startswith("talking: complete")
    assert all({"timestamp", "level", "logger"} <= entry.keys() for entry in entries)
    (failed,) = (entry for entry in entries if entry["event"] == "failed")
    assert "ZeroDivisionError" in failed["exception"]


def record(level: int, message: object) -> logging.LogRecord:
    return logging.LogRecord("x", level, "f", 1, message, None, None)


def test_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = PrintOrWarningFilter().filter
    assert passes(record(logging.WARNING, "w"))
    assert passes(record(logging.INFO, {"event": "x", "_print": True}))
    assert not passes(record(logging.INFO, {"event": "x", "_print": False}))
    assert not passes(record(logging.INFO, "stdlib"))
    assert not passes(record(logging.DEBUG, {"event": "x", "_print": True}))
    monkeypatch.setenv(ENV_NANOEVAL_LOG_ALL, "1")
    assert passes(record(logging.INFO, "stdlib"))
    assert not passes(record(logging.DEBUG, "stdlib"))
