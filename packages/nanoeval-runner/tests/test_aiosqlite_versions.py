"""The one subclass of aiosqlite works with the oldest and the newest version that is allowed.

It uses names that are not public: `_execute` and `_thread`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
WHEELS = PACKAGE.parents[1] / ".hatch/wheels"
OLDEST = NEWEST = "0.22.1"

USE = """
import asyncio, pathlib, sqlite3, sys, threading
import aiosqlite
from nanoeval_core.errors import StateError
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.paths import create_private
from nanoeval_runner._queue.store import Store

assert pathlib.Path(aiosqlite.__file__).is_relative_to(sys.argv[2]), aiosqlite.__file__
path = pathlib.Path(sys.argv[1])
create_private(path)

async def main():
    async with Store(path) as store:
        await store.call(transactions.create_schema, "set")
        assert await store.call(transactions.get_metadata, "run_set_id") == "set"
        thread = await store.call(lambda connection: threading.current_thread())
        assert thread.daemon and thread is not threading.main_thread()
        try:
            await store.call(lambda connection: connection.execute("nonsense"))
        except sqlite3.OperationalError:
            pass
        else:
            raise AssertionError("an error was swallowed")
    thread.join()
    store = await Store(path).__aenter__()
    thread = await store.call(lambda connection: threading.current_thread())
    store.close_soon()
    thread.join()
    path.unlink()
    try:
        await Store(path).__aenter__()
    except StateError as error:
        assert "is gone" in str(error)
    else:
        raise AssertionError("a file that is gone was opened")

asyncio.run(main())
print("done", path.exists())
"""


def wheel(version: str) -> Path:
    found = list(WHEELS.glob(f"aiosqlite-{version}-*.whl"))
    if not found:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
        get = (*pip, "--dest", str(WHEELS), f"aiosqlite=={version}")
        fetched = subprocess.run(get, capture_output=True, text=True, check=False)
        if fetched.returncode != 0:
            command = f"pip download --no-deps --dest .hatch/wheels aiosqlite=={version}"
            pytest.skip(f"aiosqlite {version} is not here: {command}")
        found = list(WHEELS.glob(f"aiosqlite-{version}-*.whl"))
    return found[0]


def test_these_are_the_oldest_and_the_newest_allowed() -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    (allowed,) = [r for r in project["dependencies"] if r.startswith("aiosqlite")]
    oldest, below = re.fullmatch(r"aiosqlite>=([\d.]+),<([\d.]+)", allowed).groups()  # type: ignore[union-attr]
    assert oldest == OLDEST
    assert int(below.split(".")[1]) == int(NEWEST.split(".")[1]) + 1


@pytest.mark.parametrize("version", sorted({OLDEST, NEWEST}))
def test_a_whole_transaction_runs_on_its_thread(version: str, tmp_path: Path) -> None:
    source = wheel(version)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE, str(tmp_path / "set.db"), str(source)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(source), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["done", "False"], done.stderr
