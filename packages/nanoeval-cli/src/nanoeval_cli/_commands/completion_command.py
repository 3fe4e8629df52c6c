"""`nanoeval completion`."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from importlib import import_module

from nanoeval_core.errors import ConfigError

from nanoeval_cli._command import Parser
from nanoeval_cli._main import COMMANDS
from nanoeval_cli._output import write

BASH = """\
_nanoeval() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    case " {runs} " in
      *" ${{COMP_WORDS[1]}} "*) words="$words $(nanoeval completion --runs 2>/dev/null)" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case "${{COMP_WORDS[1]}}" in
    run|sweep) COMPREPLY+=($(compgen -f -- "$current")) ;;
  esac
}}
complete -o default -F _nanoeval nanoeval
"""
ZSH = "autoload -Uz bashcompinit && bashcompinit\n" + BASH
TAKE_RUNS = ("show", "samples", "compare", "resume", "rescore", "export", "concurrency")


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "completion",
        "Print a completion script. For bash, in ~/.bashrc:\n\n"
        '  eval "$(nanoeval completion bash)"\n\n'
        "For zsh the same in ~/.zshrc; for fish:\n\n"
        "  nanoeval completion fish > ~/.config/fish/completions/nanoeval.fish",
    )
    parser.add_argument("shell", nargs="?", choices=("bash", "zsh", "fish"))
    parser.add_argument("--runs", action="store_true", help="print the ids of the newest runs")
    asked = parser.parse_args(arguments)
    if asked.runs:
        from nanoeval_cli._catalogue import all_runs  # noqa: PLC0415  for this option only

        write("\n".join(run.run_id for run in all_runs()[0][:50]))
    elif asked.shell is None:
        raise ConfigError("for which shell? bash, zsh or fish")
    elif asked.shell == "fish":
        write(_fish())
    else:
        cases = "\n".join(
            f'      {name}) words="{" ".join(_options(name))}" ;;' for name in COMMANDS
        )
        script = ZSH if asked.shell == "zsh" else BASH
        write(script.format(commands=" ".join(COMMANDS), cases=cases, runs=" ".join(TAKE_RUNS)))
    return 0


def _options(command: str) -> list[str]:
    """The long options of a subcommand, as its own help lists them."""
    text = io.StringIO()
    module = import_module(f"nanoeval_cli._commands.{command}_command")
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        module.main(["--help"])
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text.getvalue())))


def _fish() -> str:
    lines = ["complete -c nanoeval -f"]
    for name, doc in COMMANDS.items():
        quoted = doc.replace("'", "\\'")
        lines.append(f"complete -c nanoeval -n __fish_use_subcommand -a {name} -d '{quoted}'")
        of = f"-n '__fish_seen_subcommand_from {name}'"
        lines += [f"complete -c nanoeval {of} -l {option[2:]}" for option in _options(name)]
    runs = " ".join(TAKE_RUNS)
    lines.append(
        f"complete -c nanoeval -n '__fish_seen_subcommand_from {runs}' "
        "-a '(nanoeval completion --runs)'"
    )
    lines.append("complete -c nanoeval -n '__fish_seen_subcommand_from run sweep' -F")
    return "\n".join(lines)
