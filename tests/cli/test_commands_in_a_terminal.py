"""Every subcommand as a user runs it: a process in a terminal, its screen read back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, nanoeval
from tests.support import forked
from tests.support.script import environment

pytestmark = pytest.mark.timeout(200)  # several processes a test

COMMANDS = [
    *("run", "new", "sweep", "resume", "ls", "show", "samples", "compare", "rescore", "export"),
    *("monitor", "concurrency", "doctor", "clean", "completion"),
]


def piped(*arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return forked.nanoeval(*arguments, cwd=folder, env=environment(folder, **more))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an eval that `nanoeval new` wrote, and two runs of it."""
    folder = tmp_path_factory.mktemp("ran")
    for arguments in (
        ("new", "sums"),
        ("run", "sums.py:Sums", "solver.seed=1", "runner.run_set_id=first", "--json"),
        ("run", "sums.py:Sums", "solver.accuracy=0", "runner.run_set_id=second"),
    ):
        done = piped(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_without_a_command_it_lists_them(tmp_path: Path) -> None:
    with nanoeval(folder=tmp_path, size=(40, 100)) as terminal:
        assert terminal.finish() == 2
        assert all(f"  {command} " in terminal.text for command in COMMANDS)
        assert "Exit codes:" in terminal.text


@pytest.mark.parametrize("command", COMMANDS)
def test_each_explains_itself(command: str, tmp_path: Path) -> None:
    done = piped(command, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"nanoeval {command}" in done.stdout
    assert len(done.stdout.splitlines()) > 3
    assert "\\b" not in done.stdout


def test_new_writes_an_eval_that_runs_with_a_test_that_passes(ran: Path) -> None:
    assert len((ran / "sums.py").read_text().splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_sums.py"],
        cwd=ran,
        env=environment(ran),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    script = subprocess.run(
        [sys.executable, "sums.py", "eval.solver.accuracy=1"],
        cwd=ran,
        env=environment(ran),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert script.returncode == 0
    assert " 1.000 " in script.stderr  # what is given to the script is heeded


def test_new_says_what_is_there_already(ran: Path) -> None:
    done = piped("new", "sums", folder=ran)
    assert (done.returncode, "sums.py and test_sums.py are already" in done.stderr) == (2, True)


def test_a_solver_that_the_eval_does_not_import_goes_by_its_name(ran: Path) -> None:
    done = piped("run", "sums.py:Sums", "solver=OpenAIAPIMCQSolver", folder=ran)
    assert (done.returncode, "missing: solver.model" in done.stderr) == (2, True)


def test_run_shows_the_summary(ran: Path) -> None:
    with nanoeval(
        "run", "sums.py:Sums", "solver.accuracy=1", folder=ran, size=(50, 100)
    ) as terminal:
        assert terminal.finish() == 0
        assert "accuracy" in terminal.text
        assert "record: " in terminal.text
        assert "system_errors" not in terminal.text  # what did not occur is left to `show`
        assert re.search(r"next: .*nanoeval show \w+", terminal.text.replace("\n", ""))
    whole = piped("run", "sums.py:Sums", "--json", folder=ran)
    assert "system_errors" in json.loads(whole.stdout)
    again = piped("show", json.loads(whole.stdout)["run_id"], "--all", folder=ran)
    assert "system_errors" in again.stdout


def test_the_result_of_a_run_is_on_stdout_and_short(ran: Path) -> None:
    done = piped("run", "sums.py:Sums", "n_consensus=4", "solver.seed=1", folder=ran)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 15
    assert [line.split()[0] for line in lines[2:6]] == ["accuracy", "pass@4", "pass^4", "cons@4"]
    numbers = [line.split()[1] for line in lines[2:6]]
    assert all(re.fullmatch(r"\d\.\d{3}", number) for number in numbers)
    assert sum("accuracy" in line or "pass@1" in line for line in lines) == 1


def test_run_help_lists_every_field_with_type_default_and_doc(ran: Path) -> None:
    with nanoeval("run", "sums.py:Sums", "--help", folder=ran, size=(200, 100)) as terminal:
        assert terminal.finish() == 0
        text = terminal.text
    assert "n_consensus  int, default 1" in text
    assert "runner.concurrency  int | None, default 4096" in text
    assert "This eval's tasks in flight" in text
    assert "--budget-tokens" in text


def test_wildcards(ran: Path) -> None:
    done = piped("run", "sums.py:Sums", "...accuracy=1", "...n_tasks=1", "--json", folder=ran)
    summary = json.loads(done.stdout)
    assert (summary["accuracy"], summary["num_tasks"]) == (1.0, 1)


def test_a_script_with_its_own_main(ran: Path) -> None:
    done = piped("run", "sums.py", folder=ran)
    assert done.returncode == 0, done.stderr
    assert "2/2" in done.stderr


def test_ls_lists_newest_first(ran: Path) -> None:
    with nanoeval("ls", "sums", folder=ran, size=(24, 160)) as terminal:
        assert terminal.finish() == 0
        # What stands below the table breaks where the folder's name is long.
        header, *rows = terminal.text.partition("records: ")[0].splitlines()
    assert header.split()[:3] == ["run", "started", "eval"]
    assert len(rows) >= 2
    assert all("done" in row for row in rows if row and "older" not in row)
    found = json.loads(piped("ls", "--json", "--all", folder=ran).stdout)
    starts = [run["created_at"] for run in found]
    assert starts == sorted(starts, reverse=True)
    by_set = {run["run_set_id"]: run for run in found}
    assert by_set["second"]["score"]["value"] == 0.0
    assert by_set["second"]["total"] == 2
    assert Path(by_set["second"]["record"]).exists()


def test_ls_leaves_out_on_a_narrow_terminal_what_matters_least(ran: Path) -> None:
    with nanoeval("ls", "sums", folder=ran, size=(40, 62)) as terminal:
        assert terminal.finish() == 0
        assert "…" not in terminal.text
        assert terminal.lines[0].split() == ["run", "eval", "state", "score", "tasks", "time"]
        # Where the terminal breaks the last line depends on how long the folder's name is.
        assert "`nanoevalshowRUN`namesall" in "".join(terminal.text.split())


def test_a_run_on_a_narrow_terminal_ends_in_a_list(ran: Path) -> None:
    with nanoeval(
        "run", "sums.py:Sums", "solver.accuracy=1", folder=ran, size=(60, 36)
    ) as terminal:
        assert terminal.finish() == 0
        assert "accuracy" in terminal.lines
        assert "  value          1.000 ± 0.000" in terminal.lines
        assert any(line.startswith("2/2 tasks in ") for line in terminal.lines)


def test_the_table_of_a_sweep_turns_on_a_narrow_terminal(ran: Path) -> None:
    sweep = ("sweep", "sums.py:Sums", "solver.accuracy=0,1", "solver.seed=1,2,3", "-o", "narrow")
    with nanoeval(*sweep, folder=ran, size=(60, 60)) as terminal:
        assert terminal.finish() == 0
        assert "accuracy=1, seed=3  1.000 ± 0.000" in terminal.lines
        assert terminal.lines.index("choice                       sums") > 0


def test_ls_goes_into_a_closed_pipe_quietly(ran: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m nanoeval ls | true",
        shell=True,
        cwd=ran,
        env=environment(ran),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.stderr == ""


def test_show_by_run_set_run_id_prefix_and_record(ran: Path) -> None:
    with nanoeval("show", "second", folder=ran, size=(60, 100)) as terminal:
        assert terminal.finish() == 0
        assert "score       accuracy 0.000" in terminal.text
        assert "summary" in terminal.text
    run = json.loads(piped("show", "second", "--json", folder=ran).stdout)
    again = json.loads(piped("show", run["record"], "--json", folder=ran).stdout)
    assert again["run_id"] == run["run_id"]
    by_id = json.loads(piped("show", run["run_id"], "--json", folder=ran).stdout)
    assert by_id["summary"]["accuracy"] == 0.0


def test_samples_wrong(ran: Path) -> None:
    with nanoeval("samples", "second", "--wrong", folder=ran) as terminal:
        assert terminal.finish() == 0
        text = terminal.text
    assert text.count(" · wrong · picked ") == 2
    assert "2 + 2 = ?" in text
    assert " · expected " in text
    none = piped("samples", "second", "--right", folder=ran)
    assert none.stdout == ""
    assert "no samples like that" in none.stderr


def test_samples_show_what_a_terminal_would_obey_as_text(ran: Path) -> None:
    record = Path(json.loads(piped("show", "second", "--json", folder=ran).stdout)["record"])
    hostile = ran / "hostile.jsonl"
    hostile.write_text(record.read_text().replace("Answer: ", "\\u001b[2J\\u001b]0;owned\\u0007"))
    with nanoeval("samples", str(hostile), folder=ran) as terminal:
        assert terminal.finish() == 0
        assert b"\x1b[2J" not in terminal.written
        assert "\\x1b[2J" in terminal.text


def test_compare(ran: Path) -> None:
    with nanoeval("compare", "first", "second", folder=ran, size=(40, 120)) as terminal:
        assert terminal.finish() == 0
        text = terminal.text
    assert "B - A" in text
    assert "2 questions" in text
    assert "McNemar test" in text
    found = json.loads(piped("compare", "first", "second", "--json", folder=ran).stdout)
    assert found["n"] == 2
    assert found["b"]["mean"] == 0.0


def test_compare_fails_a_job_only_when_b_is_worse(ran: Path) -> None:
    worse = piped("compare", "first", "second", "--fail-if-worse", folder=ran)
    assert worse.returncode == 0  # two questions do not show it
    assert "unclear" in worse.stdout
    strict = piped(
        "compare", "first", "second", "--fail-if-worse", "--when-unclear=fail", folder=ran
    )
    assert strict.returncode == 1


def test_export_csv_and_jsonl(ran: Path) -> None:
    done = piped("export", "second", "--to", "csv", "-o", "-", folder=ran)
    header, *rows = done.stdout.splitlines()
    assert header.startswith("run_id,eval_name,model,sample_id")
    assert len(rows) == 2
    done = piped("export", "second", "--to", "jsonl", "-o", "out.jsonl", folder=ran)
    assert done.returncode == 0
    assert len((ran / "out.jsonl").read_text().splitlines()) == 2
    again = piped("export", "second", "--to", "jsonl", "-o", "out.jsonl", folder=ran)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_export_parquet_and_inspect(ran: Path) -> None:
    polars = pytest.importorskip("polars")
    inspect_log = pytest.importorskip("inspect_ai.log")
    done = piped("export", "second", "--to", "parquet", "-o", "out.parquet", folder=ran)
    assert done.returncode == 0, done.stderr
    frame = polars.read_parquet(ran / "out.parquet")
    assert len(frame) == 2
    assert {"sample_id", "correct"} <= set(frame.columns)
    done = piped("export", "second", "--to", "inspect", "-o", "out.json", folder=ran)
    assert done.returncode == 0, done.stderr
    assert len(inspect_log.read_eval_log(str(ran / "out.json")).samples) == 2
    text = piped("export", "second", "--to", "parquet", "-o", "-", folder=ran)
    assert (text.returncode, "is no text" in text.stderr) == (2, True)


def test_concurrency_is_shown_and_changed(ran: Path) -> None:
    with nanoeval("concurrency", "second", "17", folder=ran) as terminal:
        assert terminal.finish() == 0
        assert " 17 " in terminal.text
    shown = json.loads(piped("concurrency", "second", "--json", folder=ran).stdout)
    assert [one["limit"] for one in shown["evals"]] == [17]


def test_doctor(ran: Path) -> None:
    with nanoeval("doctor", "--offline", folder=ran, size=(50, 160)) as terminal:
        assert terminal.finish() == 0
        assert "state folder" in terminal.text
        assert "packages" in terminal.text


def test_doctor_calls_the_endpoint(ran: Path) -> None:
    done = piped("doctor", "--json", folder=ran, OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert done.returncode == 1
    problems = [found for found in json.loads(done.stdout) if found["state"] == "problem"]
    assert [found["what"] for found in problems] == ["endpoint"]
    assert "127.0.0.1:9/v1/models does not answer" in problems[0]["found"]


def test_clean_asks_then_removes_state_and_leaves_records(tmp_path: Path) -> None:
    piped("new", "sums", folder=tmp_path)
    piped("run", "sums.py:Sums", "runner.run_set_id=gone", folder=tmp_path)
    state = tmp_path / "state" / "gone.db"
    with nanoeval("clean", folder=tmp_path) as terminal:
        terminal.wait_for("Remove these 2 files? [y/N]")
        terminal.type("n\r")
        assert terminal.finish() == 0
    assert state.exists()
    unattended = piped("clean", folder=tmp_path)
    assert unattended.returncode == 2
    assert "--yes" in unattended.stderr
    with nanoeval("clean", folder=tmp_path) as terminal:
        terminal.wait_for("[y/N]")
        terminal.type("y\r")
        assert terminal.finish() == 0
    assert not state.exists()
    assert not list((tmp_path / "backups").glob("*.db"))
    assert list((tmp_path / "records").glob("*.jsonl"))
    listed = json.loads(piped("ls", "--json", folder=tmp_path).stdout)
    assert [run["state"] for run in listed] == ["done"]


WORDS = {
    "nanoeval sho": "show",
    "nanoeval ls --st": "--state",
    "nanoeval run sums.py:Su": "sums.py:Sums",
}
MORE_WORDS = {
    "nanoeval run sums.py:Sums solver.ac": "solver.accuracy=",
    "nanoeval run sums.py:Sums solver=Op": "solver=OpenAIAPIMCQSolver",
}
IN_BASH = "COMPREPLY=(); COMP_WORDS=({words}); COMP_CWORD={last}; _nanoeval_completion nanoeval"
IN_SHELLS = {
    "bash": IN_BASH + "; echo ${{COMPREPLY[*]}}",
    "fish": "complete -C '{words}'",
}


def with_command(folder: Path) -> dict[str, str]:
    """An environment in which a shell finds the command."""
    program = folder / "bin" / "nanoeval"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nanoeval "$@"\n')
    program.chmod(0o755)
    return environment(folder, PATH=f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize("shell", list(IN_SHELLS))
def test_completion_completes_in_the_shell(shell: str, ran: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here; what its script asks is tested below")
    script = [piped("completion", shell, folder=ran).stdout]
    script += [IN_SHELLS[shell].format(words=w, last=len(w.split()) - 1) for w in WORDS]
    done = subprocess.run(
        [shell, "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
        cwd=ran,
        env=with_command(ran),
    )
    found = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert found == list(WORDS.values()), done.stderr


TYPED = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "bind 'set enable-bracketed-paste off'"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D"),
}


@pytest.mark.parametrize("shell", list(TYPED))
def test_completion_completes_what_is_typed(shell: str, ran: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here; what its script asks is tested below")
    (ran / "completion").write_text(piped("completion", shell, folder=ran).stdout)
    command, prepare = TYPED[shell]
    script = f"import os; os.execvp({shell!r}, {command})"
    path = with_command(ran)["PATH"]
    with Terminal("-c", script, folder=ran, cwd=ran, PATH=path) as terminal:
        terminal.type(f"{prepare}; . ./completion; echo rea''dy\r")
        terminal.wait_for("ready")
        for words, found in (*WORDS.items(), *MORE_WORDS.items()):
            terminal.type(f"{words}\t")
            terminal.wait_for(f"{words.rpartition(' ')[0]} {found}")
            terminal.type("\x15")  # an empty line again


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_what_the_scripts_ask_is_answered(shell: str, ran: Path) -> None:
    assert f"{shell}_complete" in piped("completion", shell, folder=ran).stdout
    asked = {"COMP_WORDS": "nanoeval sho", "COMP_CWORD": "1" if shell == "zsh" else "sho"}
    done = piped(folder=ran, **asked, _NANOEVAL_COMPLETE=f"{shell}_complete")
    assert done.stdout.startswith("plain\nshow\n" if shell == "zsh" else "plain,show\t")


def completed(folder: Path, *words: str) -> list[str]:
    """What the shell would offer for the last of `words`."""
    quoted = " ".join(["nanoeval", *words])
    more = {
        "COMP_WORDS": quoted,
        "COMP_CWORD": str(len(words)),
        "_NANOEVAL_COMPLETE": "bash_complete",
    }
    done = piped(folder=folder, **more)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_completion_knows_evals_arguments_classes_and_runs(ran: Path) -> None:
    assert "sums.py:Sums" in completed(ran, "run", "su")
    assert completed(ran, "run", "sums.py:Sums", "solver.acc") == ["solver.accuracy="]
    assert "runner.concurrency=" in completed(ran, "run", "sums.py:Sums", "runner.con")
    assert "solver=OpenAIAPIMCQSolver" in completed(ran, "run", "sums.py:Sums", "solver=Op")
    named = completed(ran, "run", "sums.py:Sums", "solver=OpenAIAPIMCQSolver", "solver.mod")
    assert named == ["solver.model="]
    runs = json.loads(piped("ls", "--json", "--all", folder=ran).stdout)
    assert {run["run_id"] for run in runs} <= set(completed(ran, "show", ""))
    assert completed(ran, "show", "seco") == ["second"]
