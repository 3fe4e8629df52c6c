"""The `nanoeval` command: finds the subcommand, and ends as a program should."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import click
from nanoeval_core.errors import ConfigError

COMPLETION = "_NANOEVAL_COMPLETE"
COMMANDS = {
    "run": "run an eval: nanoeval run my_pkg.my_eval:MyEval model=…",
    "new": "write a small eval that runs as it is, and its test",
    "sweep": "run evals × models or other arguments, and compare them in one table",
    "resume": "finish what was stopped; lists what can be resumed",
    "ls": "list runs, newest first",
    "show": "show a run: its result, errors and slowest tasks",
    "samples": "page through a run's prompts, replies and verdicts",
    "compare": "compare runs on the same questions",
    "rescore": "score recorded replies again, without asking the model",
    "export": "write a run as CSV, Parquet or an Inspect log",
    "monitor": "open the web monitor",
    "concurrency": "show or change how much of a running eval runs at once",
    "doctor": "check folders, versions, limits and the endpoint",
    "clean": "remove the state of finished runs, and what killed runs left",
    "validate": "check computer tasks: their solution scores 1, doing nothing 0",
    "shell": "work on a computer task yourself, in its machine",
    "completion": "print a completion script for bash, zsh or fish",
}
EXIT_CODES = """
Exit codes:
  0    it worked
  1    nothing was measured, an eval ended by an exception, --fail-on-errors, or a comparison failed
  2    bad input: the message says what to change
  3    a token or cost budget was reached; the run can be resumed
  130  stopped by Ctrl-C (143 by SIGTERM); the run can be resumed
"""
PEERS = {
    "view": "monitor",
    "list": "ls",
    "log": "show",
    "logs": "ls",
    "eval": "run",
    "init": "new",
    "create": "new",
    "diff": "compare",
    "score": "rescore",
    "retry": "resume",
    "eval-retry": "resume",
    "rm": "clean",
}
"""What the commands are called in other tools."""


class Commands(click.Group):
    """The subcommands, each in a module that is imported when it is called."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"nanoeval_cli._commands.{cmd_name}_command")
        found: click.Command = module.command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name == "help":  # `nanoeval help ls`
            args = [*args[1:], "--help"]
            name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            raise _no_command(name)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = ["Simple, ergonomic and high performance evals for language models.", ""]
        lines += ["usage: nanoeval COMMAND …", ""]
        lines += ["Commands (nanoeval COMMAND --help explains each):"]
        lines += [f"  {name:<12} {doc}" for name, doc in COMMANDS.items()]
        formatter.write("\n".join(lines) + "\n" + EXIT_CODES)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from nanoeval_cli._command import completions  # noqa: PLC0415  when completing only

        return completions(COMMANDS, incomplete)


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_version = click.version_option(
    None, "-V", "--version", package_name="nanoeval", message="nanoeval %(version)s"
)
cli = _version(Commands("nanoeval", context_settings=SETTINGS))


def _no_command(name: str) -> ConfigError:
    near = [PEERS[name]] if name in PEERS else difflib.get_close_matches(name, COMMANDS, n=1)
    if not near and (":" in name or name.endswith(".py")):
        return ConfigError(f"there is no command {name!r}. To run an eval: nanoeval run {name}")
    guess = f" Did you mean `nanoeval {near[0]}`?" if near else ""
    return ConfigError(f"there is no command {name!r}.{guess}\n(nanoeval --help lists them)")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the subcommand that `argv` (by default the process's) names, and exit."""
    # Python has None for a stream that is closed, and the next file that is opened gets its number.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  until the process ends
    before = set(threading.enumerate())
    try:
        sys.exit(_run(list(sys.argv[1:] if argv is None else argv)))
    except SystemExit as ending:
        if threading.active_count() > len(before):
            # Deferred: `nanoeval --help` must not wait for what it does not use.
            from nanoeval_runner.setup import leave_threads_behind  # noqa: PLC0415

            leave_threads_behind(before, ending.code)
        raise


def _run(arguments: list[str]) -> int:
    is_completing = COMPLETION in os.environ
    if not arguments and not is_completing:
        sys.stdout.write(cli.get_help(click.Context(cli)) + "\n")
        return 2
    try:
        code = cli.main(arguments, prog_name="nanoeval", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except BrokenPipeError:  # `nanoeval ls | head`: the pipe is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if is_completing:  # a half-typed line is no mistake
            return 0
        told = _told(error)
        if isinstance(told, ConfigError) and "NANOEVAL_DEBUG" not in os.environ:
            from nanoeval_runner.formats import write_line  # noqa: PLC0415  as below

            write_line(sys.stderr, f"error: {told}")
            return 2
        # Deferred: it imports all of the runner, and mistakes should be told at once.
        from nanoeval_runner.setup import exit_codes  # noqa: PLC0415

        with exit_codes():
            raise told  # noqa: B904  it is `error`, or what click made of it
        raise


def _told(error: BaseException) -> BaseException:
    """Return the error that is told for one of click; others as they are."""
    if isinstance(error, click.Abort):
        return KeyboardInterrupt()
    if not isinstance(error, click.UsageError):
        return error
    text = error.format_message()
    if isinstance(error, click.MissingParameter) and error.param is not None:
        is_option = error.param.param_type_name == "option"
        text = f"required: {error.param.opts[-1] if is_option else error.param.human_readable_name}"
        if isinstance(error.param.type, click.Choice):
            text += f" {', '.join(error.param.type.choices)}"
    where = error.ctx.command_path if error.ctx is not None else "nanoeval"
    return ConfigError(f"{text}\n({where} --help lists what there is)")
