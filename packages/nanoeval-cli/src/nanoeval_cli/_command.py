"""What a subcommand is: a click command whose options have one grammar.

`--name value`, `--name=value` and `name=value` mean the same in every command. Where a command is
about an eval, every name that is not one of its options is an argument of that eval.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import click
from click.shell_completion import CompletionItem
from nanoeval_core.errors import ConfigError

_NAME = re.compile(r"(?:\.\.\.)?[A-Za-z_][\w.\-]*@?")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
PEERS = {
    "--model": "name the model as model=NAME",
    "--limit": "the first N tasks are runner.n_tasks=N",
    "--max-connections": "that is runner.concurrency=N",
    "--epochs": "attempts are n_consensus=N, or samples_per_question=N",
    "-T": "arguments of an eval are name=value, without -T",
    "-M": "arguments of a solver are solver.name=value, without -M",
    "-m": "name the model as model=NAME",
}
"""What people type who come from other tools, and what it is here."""


class Command(click.Command):
    """A subcommand. Names that are no options go to its function's `fields`, where it has them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.takes_fields = "fields" in inspect.signature(kwargs["callback"]).parameters
        click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_debug,
            help="Show tracebacks of errors.",
        )(self)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words, positional, fields = self.split(ctx, args)
        if not ctx.resilient_parsing and (own := self.own_fields(positional)):
            words, _, fields = self.split(ctx, args, own)
        rest = super().parse_args(ctx, words)
        if self.takes_fields:
            ctx.params["fields"] = fields
        return rest

    def own_fields(self, positional: Sequence[str]) -> set[str]:
        """Return the names that are fields even where an option of the command has the same."""
        return set()

    def _options(self, ctx: click.Context) -> dict[str, click.Option]:
        return {
            name: option
            for option in self.get_params(ctx)
            if isinstance(option, click.Option)
            for name in option.opts
        }

    def split(
        self, ctx: click.Context, args: Sequence[str], own: Collection[str] = ()
    ) -> tuple[list[str], list[str], dict[str, str]]:
        """Return what click is to read, what of it has no name, and the arguments of the eval."""
        # A flag stays the command's: alone, it could not be a field.
        known = self._options(ctx).items()
        options = {n: one for n, one in known if one.is_flag or n.lstrip("-") not in own}
        words: list[str] = []
        positional: list[str] = []
        fields: dict[str, str] = {}
        left = deque(args)
        while left:
            word = left.popleft()
            name, equals, value = word.partition("=")
            dashed = "--" + name.lstrip("-").replace("_", "-")
            option = options.get(name)
            if option is None and (equals or name.startswith("--")):
                option = options.get(dashed)
            if word == "--":
                words += [word, *left]
                positional += left
                break
            if option is not None:
                words += _option_words(option, word, equals, value, left)
            elif name in PEERS and not (self.takes_fields and name == "--model"):
                raise ConfigError(f"there is no option {name}: {PEERS[name]}")
            elif name.startswith("--") or (equals and _NAME.fullmatch(name)):
                near = difflib.get_close_matches(name, options, n=1, cutoff=0.75)
                is_mistyped = name.startswith("--") and bool(near)
                has_value = equals or (left and not left[0].startswith("--"))
                if not self.takes_fields or is_mistyped or not has_value:
                    raise self._no_option(ctx, name, options)
                fields[name.removeprefix("--")] = value if equals else left.popleft()
            elif equals and not name:
                raise ConfigError(f"argument {word!r}: write it as name=value")
            else:
                words.append(word)
                if not word.startswith("-"):
                    positional.append(word)
        arguments = [one for one in self.get_params(ctx) if isinstance(one, click.Argument)]
        takes_more = not self.takes_fields or any(one.nargs != 1 for one in arguments)
        if len(positional) > len(arguments) and not takes_more:
            raise ConfigError(
                f"argument {positional[len(arguments)]!r}: write it as name=value, without spaces, "
                "or --name value"
            )
        return words, positional, fields

    def _no_option(
        self, ctx: click.Context, name: str, options: dict[str, click.Option]
    ) -> ConfigError:
        for one in self.get_params(ctx):
            if isinstance(one, click.Argument) and name.lstrip("-") == one.name:
                example = f"{ctx.command_path} {one.make_metavar(ctx)}"
                return ConfigError(f"there is no option {name}: it goes without a name: {example}")
        plain = {one.lstrip("-"): one for one in options}
        near = difflib.get_close_matches(name.lstrip("-"), plain, n=1, cutoff=0.5)
        text = f"there is no option {name}" + (f": did you mean {plain[near[0]]}?" if near else "")
        if self.takes_fields and not near:
            text += f"; as an argument of the eval, {name} needs a value: {name} VALUE"
        return ConfigError(f"{text}\n({ctx.command_path} --help lists what there is)")


def _debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        os.environ["NANOEVAL_DEBUG"] = "1"


def _option_words(
    option: click.Option, word: str, equals: str, value: str, left: deque[str]
) -> list[str]:
    """Return an option as click reads it."""
    name = max(option.opts, key=len)
    if not option.is_flag:
        if equals:
            return [f"{name}={value}"]
        return [name, left.popleft()] if left else [name]
    if not equals:
        return [name]
    if value.lower() not in _TRUTH:
        raise ConfigError(f"{word}: give {name} alone, or True or False")
    return [name] if _TRUTH[value.lower()] else []


subcommand = partial(click.command, cls=Command)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def budget_options(function: Callable[..., int]) -> Callable[..., int]:
    for name, kind, text in (
        ("--budget-cost", float, "Stop, resumably, once this much is spent."),
        ("--budget-tokens", positive, "Stop, resumably, after this many tokens."),
    ):
        function = click.option(name, type=kind, metavar="N", help=text)(function)
    return function


def positive(text: str | int) -> int:
    """Read a whole number from 1 on: a click type."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number <= 0:
        raise ConfigError(f"{text!r} is no positive number")
    return number


def complete_run(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the ids of the newest runs and run sets that begin like this."""
    from nanoeval_cli._runs import runs_newest_first  # noqa: PLC0415  when completing only

    runs = list(itertools.islice(runs_newest_first(), 50))
    found = {run.run_id: f"{run.eval} {run.model}".strip() for run in runs}
    found |= {run.run_set_id: run.eval for run in runs if run.state_file is not None}
    return completions(found, incomplete)


def completions(found: Mapping[str, str | None], incomplete: str) -> list[CompletionItem]:
    """Return those words of `found` that begin like this, each with its help."""
    return [
        CompletionItem(word, help=text)
        for word, text in found.items()
        if word.startswith(incomplete)
    ]
