"""The `nanoeval` command: finds the subcommand, and ends as a program should."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "run": "run an eval: nanoeval run my_pkg.my_eval:MyEval solver.model=…",
    "new": "write a small eval that runs as it is, and its test",
    "sweep": "run evals × models or other arguments, and compare them in one table",
    "resume": "finish what was stopped; lists what can be resumed",
    "ls": "list runs, newest first",
    "show": "show a run: its summary, errors and slowest tasks",
    "samples": "page through a run's prompts, replies and verdicts",
    "compare": "compare two runs on the same questions",
    "rescore": "score recorded replies anew, without asking the model",
    "export": "write a run as CSV, Parquet or an Inspect log",
    "monitor": "open the web monitor",
    "board": "write runs as web pages that open from disk: nanoeval board export DIR",
    "concurrency": "show or change how much of a running eval runs at once",
    "doctor": "check folders, versions, limits and the endpoint",
    "clean": "remove the state of finished runs",
    "completion": "print a completion script for bash, zsh or fish",
}
DOCS = """
Exit codes:
  0    it worked
  1    an eval ended by an exception, or a comparison failed
  2    bad input: the message says what to change
  3    a token or cost budget was reached; the run can be resumed
  130  stopped by Ctrl-C (143 by SIGTERM); the run can be resumed
"""


def usage() -> str:
    lines = ["Simple, ergonomic and high performance evals for language models.", ""]
    lines += ["usage: nanoeval COMMAND …", "", "Commands (nanoeval COMMAND --help explains each):"]
    lines += [f"  {name:<12} {doc}" for name, doc in COMMANDS.items()]
    return "\n".join(lines) + "\n" + DOCS


def main(argv: Sequence[str] | None = None) -> None:
    """Run the subcommand that `argv` (by default the process's) names, and exit."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        if len(arguments) > 1:  # `nanoeval help ls`
            _run(arguments[1], ["--help"])
        sys.stdout.write(usage())
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        from importlib.metadata import version  # noqa: PLC0415  for this option only

        sys.stdout.write(f"nanoeval {version('nanoeval')}\n")
        return
    _run(arguments[0], arguments[1:])


def _run(name: str, arguments: list[str]) -> None:
    # Deferred, like each command: `nanoeval --help` must not wait for what it does not use.
    from nanoeval_runner.setup import exit_codes  # noqa: PLC0415

    with exit_codes():
        if name not in COMMANDS:
            _refuse(name)
        if "--debug" in arguments:
            os.environ["NANOEVAL_DEBUG"] = "1"
        module = importlib.import_module(f"nanoeval_cli._commands.{name}_command")
        try:
            code: int = module.main(arguments)
            sys.stdout.flush()
        except BrokenPipeError:  # `nanoeval ls | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        sys.exit(code)


def _refuse(name: str) -> None:
    from nanoeval_core.errors import ConfigError  # noqa: PLC0415  only when something is wrong

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    if not near and (":" in name or name.endswith(".py")):
        raise ConfigError(f"there is no command {name!r}. To run an eval: nanoeval run {name}")
    guess = f" Did you mean `nanoeval {near[0]}`?" if near else ""
    raise ConfigError(f"there is no command {name!r}.{guess}\n(nanoeval --help lists them)")
