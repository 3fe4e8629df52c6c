"""`nanoeval completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class
from nanoeval_core.errors import ConfigError

from nanoeval_cli._command import subcommand
from nanoeval_cli._main import COMPLETION
from nanoeval_cli._output import write

BASH = r"""
_nanoeval_completion() {
    local line word current last type value
    local -a words
    # The line, as bash itself takes module:Class and name=value apart into several words.
    line="${COMP_LINE:0:${COMP_POINT:-0}}"
    [[ -n $line ]] || line="${COMP_WORDS[*]:0:COMP_CWORD+1}"
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    last=$((${#words[@]} - 1))
    word="${words[$last]}"
    # Of the word, bash replaces the part that it takes for one.
    current="${COMP_WORDS[COMP_CWORD]}"
    [[ $current == [:=] ]] && current=""
    COMPREPLY=()
    while IFS=, read -r type value; do
        [[ $type == plain ]] && COMPREPLY+=("${value#"${word%"$current"}"}")
    done < <(COMP_WORDS="$line" COMP_CWORD=$last _NANOEVAL_COMPLETE=bash_complete "$1")
    [[ ${COMPREPLY[0]} == *[=/] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o nosort -F _nanoeval_completion nanoeval
"""


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
    if shell == "bash":
        write(BASH.strip())
        return 0
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  click has these three
    write(found(ctx.find_root().command, {}, "nanoeval", COMPLETION).source())
    return 0
