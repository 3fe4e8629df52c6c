"""`nanoeval run`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import chz
import click
from click.shell_completion import CompletionItem
from nanoeval_core.errors import ConfigError
from nanoeval_runner import run
from nanoeval_runner.budget import with_budget
from nanoeval_runner.command_line import help_text
from nanoeval_runner.results import collecting

from nanoeval_cli._command import Command, budget_options, json_option, subcommand
from nanoeval_cli._event_loop import loop_option, run_in_loop
from nanoeval_cli._output import write, write_json
from nanoeval_cli._targets import (
    complete_argument,
    complete_target,
    evals_in,
    field_names,
    find_eval_class,
    is_script,
    make_spec,
    run_script,
    spec_of,
    with_solver,
)


class EvalCommand(Command):
    """A command about an eval: its help and its completion know the arguments of that eval."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words, targets, fields = self.split(ctx, args)
        if targets and not ctx.resilient_parsing:
            # What only this command knows is for the eval in the file, not for its main part.
            for_eval = "model" in fields or any(word in self._options(ctx) for word in words)
            asks_help = "--help" in words or "-h" in words
            has_one = for_eval and not asks_help and len(evals_in(targets[0])) == 1
            if self.name == "run" and is_script(targets[0]) and not has_one:
                others = list(args)
                others.remove(targets[0])
                run_script(targets[0], others)
                ctx.exit(0)
            if asks_help:
                write(_help(ctx, targets[0], fields))
                ctx.exit(0)
        return super().parse_args(ctx, args)

    def own_fields(self, positional: Sequence[str]) -> set[str]:
        return {name for target in positional for name in field_names(target)}

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        options = super().shell_complete(ctx, incomplete)
        return [*_complete_word(ctx, self.params[0], incomplete), *options]


def _complete_word(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the evals that a word may become; behind an eval, its arguments."""
    evals = ctx.params.get("evals") or [ctx.params.get("eval")]
    if evals[0] is None:
        return complete_target(incomplete)
    found = complete_argument(evals[0], ctx.params.get("fields") or {}, incomplete)
    return found or complete_target(incomplete)


eval_argument = partial(click.argument, shell_complete=_complete_word)


def _help(ctx: click.Context, target: str, fields: dict[str, str]) -> str:
    """Return every argument of an eval, then the options of the command."""
    eval_class = find_eval_class(target)
    given = with_solver(eval_class, fields)
    formatter = ctx.make_formatter()
    ctx.command.format_options(ctx, formatter)
    doc = (spec_of(eval_class).__doc__ or "").strip()
    listed = help_text(spec_of(eval_class), given, root="eval")
    return "\n".join([target, "", doc, "", listed, "", formatter.getvalue().rstrip()])


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"--fail-on-errors {value}: give a share from 0 to 1, such as 0.05")
    return share


errors_option = click.option(
    "--fail-on-errors",
    is_flag=False,
    flag_value="0",
    metavar="[SHARE]",
    callback=_share,
    help="Exit with 1 when more than this share of the tasks was lost; alone, when any was.",
)


@subcommand("run", cls=EvalCommand)
@eval_argument("eval", required=False)
@budget_options
@errors_option
@loop_option
@click.option("--keep-machines", is_flag=True, help="Leave the machines of computer tasks running.")
@json_option
def command(  # noqa: PLR0913  one parameter an option
    *,
    eval: str | None,
    budget_tokens: int | None,
    budget_cost: float | None,
    fail_on_errors: float | None,
    loop: str,
    keep_machines: bool,
    as_json: bool,
    fields: dict[str, str],
) -> int:
    """Run an eval.

    \b
      nanoeval run my_pkg.my_eval:MyEval model=gpt-4o-mini runner.concurrency=50
      nanoeval run my_eval.py --help             lists every argument of it
      nanoeval run my_script.py name=value       runs a script that has its own main

    EVAL is module:Class, file.py:Class, or a file or module with one eval. Arguments are
    name=value, --name=value or --name value: the eval's fields by their names, how to run it by
    runner.NAME, and ...name=value for every field of that name. A field that holds an object takes
    a class: solver=MockSolver, or solver=my_pkg.solvers:MySolver. model=NAME alone asks that model
    over an API: OPENAI_API_KEY and OPENAI_BASE_URL say which. A file with a main part of its own
    runs as a script; with model=… or an option of this command, the one eval in it is run.
    """
    if eval is None:
        raise ConfigError("which eval? Name it first: nanoeval run my_pkg.my_eval:MyEval")
    eval_class = find_eval_class(eval)
    spec = with_budget(make_spec(eval_class, fields), budget_tokens, budget_cost)
    if keep_machines:
        from nanoeval_computer.maintenance import with_kept_machines  # noqa: PLC0415  this option's

        spec = chz.replace(spec, eval=with_kept_machines(spec.eval))
    with collecting(None if as_json else sys.stdout) as found:
        summary = run_in_loop(run(spec), loop)
    if as_json:
        write_json(summary)
    return found.exit_code(fail_on_errors)
