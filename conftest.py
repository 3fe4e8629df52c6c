"""The same tests on every machine: nothing that a person has set, no limit on a busy processor.

It also holds the number of collected tests above a floor, and says what skipped tests want for.
"""

from __future__ import annotations

import datetime
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

OF_A_PERSON = ("OPENAI_", "NANOEVAL_", "DOCKER_", "MLFLOW_")
OF_TESTS = ("NANOEVAL_TEST_FLOOR", "NANOEVAL_EVALS_VENV")
SHOWN_BY = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PAGER", "LESS", "CI", "XDG_STATE_HOME")

for name in list(os.environ):
    if name in SHOWN_BY or (name.startswith(OF_A_PERSON) and name not in OF_TESTS):
        del os.environ[name]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of Pythons are started
os.environ.pop("PYTHONUNBUFFERED", None)  # few people set it, and it hides what is not flushed
if any(name.lower().endswith("_proxy") for name in os.environ):  # it reaches no server of a test
    for name in ("NO_PROXY", "no_proxy"):
        others = os.environ.get(name)
        local = ["127.0.0.1", "localhost", "::1"]
        os.environ[name] = ",".join([*local, *([others] if others else [])])

if find_spec("hypothesis") is not None:  # Ray's environment has none
    from hypothesis import settings

    settings.load_profile("ci")  # no deadline, and the same examples each time


class Retried(NamedTuple):
    """Why a test may run a second time, and since when (ISO 8601)."""

    reason: str
    since: str


# The only tests that run again when they fail. The list gets shorter: mend one, and drop it.
RETRIED: dict[str, Retried] = {}

MISSING = " is not here: "
"""In the reason of a skip: what is missing, then the command that brings it."""


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach tests, and keep caches and state files apart from a person's."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where state files are by default
    for name, folder in (("NANOEVAL_CACHE_DIR", None), ("NANOEVAL_STATE_DIR", memory)):
        own = tempfile.TemporaryDirectory(prefix="nanoeval-tests-", dir=folder)
        config.add_cleanup(own.cleanup)
        os.environ[name] = own.name
    # What a shell starts in the background ignores Ctrl-C, children too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    floor = int(os.environ.get("NANOEVAL_TEST_FLOOR") or 0)
    if len(items) < floor:
        raise pytest.UsageError(
            f"{len(items)} tests were collected, and there should be {floor} or more: some are no "
            "longer found. If they went on purpose, lower NANOEVAL_TEST_FLOOR in .ci/run"
        )
    for item in items:
        retried = RETRIED.get(item.nodeid)
        if retried is not None:
            datetime.date.fromisoformat(retried.since)
            item.add_marker(pytest.mark.flaky(reruns=1, reason=retried.reason))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have runs write below a folder of the test's own: `state`, `records`, `backups`, `home`."""
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NANOEVAL_LOG_DIR", str(tmp_path / "records"))
    monkeypatch.setenv("NANOEVAL_BACKUP_DIR", str(tmp_path / "backups"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Close with what was not run for want of something, and the command that brings it."""
    yield
    wanted: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        _, _, reason = report.longrepr
        if MISSING in reason:
            wanted[reason.removeprefix("Skipped: ")] += 1
    for reason, count in wanted.items():
        terminalreporter.write_line(f"{count} not run: {reason}", yellow=True)
