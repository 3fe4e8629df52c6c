"""State files and their backups: whose they are, who may read them, and that none is made over."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval_core import Eval, EvalSpec, RunnerArgs, Task, dummy_recorder
from nanoeval_core.errors import ConfigError, StateError
from nanoeval_runner import run
from nanoeval_runner._queue import backup, paths, sql, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.store import Store
from nanoeval_runner.state_files import backups, remove_backup, set_concurrency

pytestmark = pytest.mark.usefixtures("folders")


def opened(run_set_id: str = "set") -> bool:
    """Open a state file and close it; whether there was one."""

    async def main() -> bool:
        store = Store(paths.state_file(run_set_id))
        was_there = await store.open_run_set()
        await store.__aexit__(None, None, None)
        return was_there

    return asyncio.run(main())


def marked_backup(folders: Path) -> Path:
    """A state file with a mark in it, backed up and gone."""
    opened()
    path = folders / "state/set.db"
    with contextlib.closing(connect(path)) as connection:
        connection.execute(sql.SET_METADATA, ("mark", "kept"))
    backup.copy(path, str(folders / "backups"), sync=False)
    path.unlink()
    return path


def mark(path: Path) -> object:
    with contextlib.closing(connect(path)) as connection:
        return transactions.get_metadata(connection, "mark")


# --- never made over


@pytest.mark.parametrize("left", ["nothing", "an empty file", "a log of the old one"])
def test_a_file_that_vanished_comes_back_from_its_backup(folders: Path, left: str) -> None:
    path = marked_backup(folders)
    if left == "an empty file":
        path.touch(mode=0o600)
    elif left == "a log of the old one":
        path.with_name("set.db-wal").write_bytes(b"\x37\x7f\x06\x82" + b"rubbish" * 100)
    assert opened()
    assert mark(path) == "kept"


def test_without_a_backup_it_is_a_new_one(folders: Path) -> None:
    assert not opened()
    assert opened()
    with contextlib.closing(connect(folders / "state/set.db")) as connection:
        assert transactions.get_metadata(connection, "run_set_id") == "set"


def test_nobody_who_looks_makes_a_file(folders: Path) -> None:
    path = folders / "state/set.db"
    opened()
    path.unlink()
    with pytest.raises(sqlite3.OperationalError):
        connect(path)
    with pytest.raises(StateError, match="cannot be written"):
        set_concurrency(path, None, 3)
    with pytest.raises(sqlite3.OperationalError):
        backup.copy(path, str(folders / "backups"), sync=False)
    assert not path.exists()
    assert not list((folders / "backups").iterdir())


@chz.chz
class Removing(Eval[Task, bool]):
    """Its first task removes the state file, and puts another in its place if it is to."""

    state: str
    replace: bool = False

    def get_name(self) -> str:
        return "removing"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{i}") for i in range(5)]

    async def evaluate(self, task: Task) -> bool:
        for path in Path(self.state).glob("*.db"):  # noqa: ASYNC240  a fault, not a pattern
            path.unlink()
            if self.replace:
                path.touch()
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"n": len(results)}


def removing(folders: Path, *, replace: bool = False) -> dict[str, Any]:
    eval = Removing(state=str(folders / "state"), replace=replace)
    runner = RunnerArgs(recorder=dummy_recorder(), run_set_id="set")
    return asyncio.run(run(EvalSpec(eval=eval, runner=runner)))


def test_a_file_removed_during_the_run_is_put_back(
    folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = marked_backup(folders)
    assert removing(folders)["n"] == 5
    assert "was removed during the run: it has been put back" in caplog.text
    for kept in (path, folders / "backups/set.db"):
        with contextlib.closing(connect(kept)) as connection:
            assert transactions.get_metadata(connection, "mark") == "kept"
            assert [row.done for row in transactions.list_evals(connection)] == [5]


def test_a_file_that_took_the_place_of_a_removed_one_stays(folders: Path) -> None:
    path = marked_backup(folders)
    with pytest.raises(StateError, match="there is another one by now"):
        removing(folders, replace=True)
    assert path.read_bytes() == b""
    path.unlink()
    assert opened()
    assert mark(path) == "kept"


@chz.chz
class Unfinished(Eval[Task, bool]):
    """Does not say how to evaluate a task."""

    def get_name(self) -> str:
        return "unfinished"


@chz.chz
class Unlisted(Removing):
    """Cannot list its tasks."""

    async def get_tasks(self) -> list[Task]:
        raise LookupError("no data")


def test_a_file_of_version_1_is_refused_with_what_to_do(folders: Path) -> None:
    opened()
    path = folders / "state/set.db"
    with contextlib.closing(connect(path)) as connection:
        connection.execute(sql.SET_METADATA, ("schema_version", 1))
    with pytest.raises(StateError, match=r"has schema version 1.*resume it with the nanoeval"):
        opened()


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"x" * 4096])
def test_a_damaged_file_is_left_alone(folders: Path, content: bytes) -> None:
    marked_backup(folders)
    path = folders / "state/set.db"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StateError, match="damaged or not a database"):
        opened()
    assert path.read_bytes() == content


@pytest.mark.parametrize("eval", [Unfinished(), Unlisted(state=""), "engine"])
def test_a_run_that_is_refused_leaves_nothing(folders: Path, eval: Any) -> None:
    runner = RunnerArgs(recorder=dummy_recorder())
    if eval == "engine":
        eval, runner = Removing(state=""), chz.replace(runner, executor="nowhere")
    with pytest.raises((ConfigError, LookupError)):
        asyncio.run(run(EvalSpec(eval=eval, runner=runner)))
    assert not list((folders / "state").iterdir())


# --- whose they are


def test_a_backup_of_another_user_is_not_even_copied(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = marked_backup(folders)
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(StateError, match=f"belongs to user {me}, not to you"):
        backup.restore(path)
    pytest.importorskip("fsspec")
    monkeypatch.setenv("NANOEVAL_BACKUP_DIR", (folders / "backups").as_uri())
    with pytest.raises(StateError, match=f"belongs to user {me}, not to you"):
        backup.restore(path)
    assert {file.name for file in paths.files_of(path)} <= {"set.lock", "set.turn", "set.shared"}


def test_a_backup_that_others_can_write_is_not_read(folders: Path) -> None:
    path = marked_backup(folders)
    (folders / "backups/set.db").chmod(0o666)
    with pytest.raises(StateError, match="can be written by others"):
        backup.restore(path)
    assert not path.exists()


def test_a_backup_at_a_url_comes_back_whole(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    opened()
    path = folders / "state/set.db"
    with contextlib.closing(connect(path)) as connection:
        connection.execute(sql.SET_METADATA, ("mark", "kept"))
    monkeypatch.setenv("NANOEVAL_BACKUP_DIR", (folders / "far").as_uri())
    backup.copy(path, (folders / "far").as_uri(), sync=False)
    path.unlink()
    assert opened()
    assert mark(path) == "kept"
    assert path.stat().st_mode & 0o777 == 0o600
    assert {file.name for file in (folders / "far").iterdir()} == {"set.db"}


# --- what killed writers leave


def test_what_a_killed_writer_left_is_gone_with_the_next_copy(folders: Path) -> None:
    opened()
    path = folders / "state/set.db"
    (folders / "backups").mkdir()
    for name in (".set.db.part", ".set.db.part-journal"):
        (folders / "backups" / name).write_bytes(b"half")
    backup.copy(path, str(folders / "backups"), sync=True)
    assert [file.name for file in (folders / "backups").iterdir()] == ["set.db"]


def test_removing_a_backup_removes_what_a_killed_writer_left(folders: Path) -> None:
    marked_backup(folders)
    (folders / "backups/.set.db.part").write_bytes(b"half")
    for path in backups():
        remove_backup(path)
    assert not list((folders / "backups").iterdir())


# --- who may read them


@pytest.mark.parametrize("umask", ["000", "022", "277", "777"])
def test_folders_and_files_are_private_whatever_the_umask(folders: Path, umask: str) -> None:
    code = (
        f"import asyncio, os; os.umask(0o{umask})\n"
        "from nanoeval_runner._queue import backup\n"
        "from nanoeval_runner._queue.store import Store\n"
        "from nanoeval_runner._queue.paths import shared_dir, state_file\n"
        "async def main():\n"
        "    store = Store(state_file('set'))\n"
        "    await store.open_run_set()\n"
        "    shared_dir(store.path)\n"
        "    backup.copy(store.path, os.environ['NANOEVAL_BACKUP_DIR'], sync=False)\n"
        "    print(*sorted(f.name for f in store.path.parent.iterdir()))\n"
        "    for file in [store.path.parent, *store.path.parent.iterdir()]:\n"
        "        print(oct(file.stat().st_mode & 0o777), file.is_dir())\n"
        "    await store.__aexit__(None, None, None)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, *modes = done.stdout.splitlines()
    assert {"set.db", "set.db-wal", "set.db-shm", "set.turn", "set.shared"} <= set(names.split())
    assert set(modes) == {"0o700 True", "0o600 False"}
    for file in [folders / "backups", folders / "backups/set.db"]:
        mode = stat.S_IMODE(file.stat().st_mode)
        assert mode == (0o700 if file.is_dir() else 0o600)


def test_the_folders_above_ours_are_private_too(folders: Path) -> None:
    paths.private_folder(folders / "a/b/c", setting="X")
    assert [p.stat().st_mode & 0o777 for p in (folders / "a", folders / "a/b")] == [0o700] * 2


def test_a_user_without_a_home_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def unknown(uid: int) -> Any:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("NANOEVAL_BACKUP_DIR")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ConfigError, match=r"has no home folder.*set HOME or XDG_STATE_HOME"):
        paths.backup_location()


# --- the turn to write


@pytest.fixture
def forked(folders: Path) -> Iterator[int]:
    """A process that was forked while its parent held the turn to write; the parent is gone."""
    opened()
    code = (
        "import os, pathlib, signal, sys\n"
        "from nanoeval_runner._queue.connection import connect, transaction\n"
        "reading, writing = os.pipe()\n"
        "with transaction(connect(pathlib.Path(sys.argv[1]))):\n"
        "    if os.fork():\n"
        "        os.read(reading, 1)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    print(os.getpid(), flush=True)\n"
        "    os.write(writing, b'x')\n"
        "    signal.pause()\n"
    )
    path = folders / "state/set.db"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.wait()
        yield child
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_does_not_keep_the_turn_of_its_dead_parent(
    folders: Path, forked: int
) -> None:
    os.kill(forked, 0)  # it lives
    with (folders / "state/set.turn").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- texts that no file can hold

HALF = "a\ud800b"


@chz.chz
class Named(Eval[Task, bool]):
    name: str = "named"
    question: str = "q"

    def get_name(self) -> str:
        return self.name

    async def get_tasks(self) -> list[Task]:
        return [Task.model_construct(question_id=self.question, attempt_id=1, retry_idx=0)]

    async def evaluate(self, task: Task) -> bool:
        raise AssertionError("it was refused")

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("eval", "runner", "field"),
    [
        (Named(name=HALF), {}, "name"),
        (Named(question=HALF), {}, "question_id"),
        (Named(), {"model_name": HALF}, "runner.model_name"),
    ],
)
def test_half_a_character_is_refused_by_its_field(
    eval: Named, runner: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(field)) as refused:
        asyncio.run(run(EvalSpec(eval=eval, runner=RunnerArgs(**runner))))
    assert "surrogate" in str(refused.value)
