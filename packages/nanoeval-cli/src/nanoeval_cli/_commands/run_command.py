"""`nanoeval run`."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import chz
from nanoeval_core.spec import EvalSpec
from nanoeval_runner import run
from nanoeval_runner.setup import nanoeval_logging, raise_file_limit

from nanoeval_cli._command import Parser, positive
from nanoeval_cli._output import describe, write, write_json
from nanoeval_cli._targets import find_eval_class, is_script, make_spec, run_script

USAGE = """Run an eval.

  nanoeval run my_pkg.my_eval:MyEval solver.model=gpt-4o-mini runner.concurrency=50
  nanoeval run my_eval.py:MyEval --help      lists every argument of it
  nanoeval run my_script.py name=value       runs a script that has its own main

Arguments are name=value: the eval's fields by name, how to run it by runner.NAME, and ...name=value
for every field of that name. A field that holds an object takes a class: solver=MockSolver, or
solver=my_pkg.solvers:MySolver."""


def main(arguments: Sequence[str]) -> int:
    parser = _parser()
    if not arguments or arguments[0] in ("--help", "-h"):
        parser.print_help()
        return 0 if arguments else 2
    target = next((one for one in arguments if not one.startswith("-") and "=" not in one), None)
    if target is None:
        parser.error("which eval? Name it first: nanoeval run my_pkg.my_eval:MyEval")
    others = list(arguments)
    others.remove(target)
    if is_script(target):
        run_script(target, others)
        return 0
    if "--help" in others or "-h" in others:
        write(_help(target))
        return 0
    asked, named = parser.parse_known_args([target, *others])
    spec = with_budget(make_spec(find_eval_class(target), only_named(parser, named)), asked)
    with nanoeval_logging():
        raise_file_limit()
        summary = asyncio.run(run(spec))
    if asked.json:
        write_json(summary)
    else:
        shown = _brief(summary) if sys.stdout.isatty() else summary
        for line in describe({k: v for k, v in shown.items() if k != "usage"}):
            write(line)
        if len(shown) < len(summary):
            write(f"All of it: nanoeval show {summary['run_id']}")
    return 0


def _brief(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a person wants to see at once: no breakdowns, no counts of what did not occur."""
    return {
        name: value
        for name, value in summary.items()
        if not isinstance(value, Mapping) and (value or not name.startswith("num_"))
    }


def _parser() -> Parser:
    parser = Parser("run", USAGE, usage="nanoeval run EVAL [name=value …] [options]")
    parser.add_argument("eval", help="module:Class, file.py:Class, or a script")
    add_budget(parser)
    parser.add_json()
    return parser


def add_budget(parser: Parser) -> None:
    parser.add_argument(
        "--budget-tokens", type=positive, metavar="N", help="stop, resumably, after N tokens"
    )
    parser.add_argument(
        "--budget-cost", type=float, metavar="X", help="stop, resumably, once X is spent"
    )


def with_budget(spec: EvalSpec, asked: Any) -> EvalSpec:
    """`spec` with the budgets that were asked for."""
    found = {"budget_tokens": asked.budget_tokens, "budget_cost": asked.budget_cost}
    given = {name: value for name, value in found.items() if value is not None}
    return chz.replace(spec, runner=chz.replace(spec.runner, **given)) if given else spec


def only_named(parser: Parser, arguments: Sequence[str]) -> Sequence[str]:
    """The `name=value` arguments, dashes before them taken off; mistyped options are refused."""
    found = []
    for argument in arguments:
        name = argument.partition("=")[0]
        is_option = difflib.get_close_matches(name, parser.options(), n=1, cutoff=0.75)
        if argument.startswith("-") and ("=" not in argument or is_option):
            parser.error(f"unrecognized arguments: {argument}")
        found.append(argument.lstrip("-"))
    return found


def _help(target: str) -> str:
    """What `nanoeval run TARGET --help` shows: every argument of that eval."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        make_spec(find_eval_class(target), ["--help"])
    lines = text.getvalue().rstrip().splitlines()
    listed = [line for line in lines if not line.startswith(("Entry point:", "  eval  "))]
    options = "Options: --budget-tokens N, --budget-cost X, --json, --debug"
    return "\n".join([target, *listed, "", options])
