"""`nanoeval completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class
from nanoeval_core.errors import ConfigError

from nanoeval_cli._command import subcommand
from nanoeval_cli._output import write

VARIABLE = "_NANOEVAL_COMPLETE"


@subcommand("completion")
@click.argument("shell", required=False, type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str | None) -> int:
    """Print a completion script.

    \b
      eval "$(nanoeval completion bash)"        in ~/.bashrc
      eval "$(nanoeval completion zsh)"         in ~/.zshrc
      nanoeval completion fish > ~/.config/fish/completions/nanoeval.fish

    It completes commands, options, evals and their arguments, and the ids of runs.
    """
    if shell is None:
        raise ConfigError("for which shell? bash, zsh or fish")
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  click has these three
    write(found(ctx.find_root().command, {}, "nanoeval", VARIABLE).source())
    return 0
