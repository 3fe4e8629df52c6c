"""The `nanoeval` command. Each subcommand is a module of `_commands`, loaded when it is called.

_main                     finds the subcommand, turns errors into messages and exit codes
_command, _output         what subcommands are made of, and how they print
_runs                runs, from state files and records together
_targets                  evals by name: module:Class, a file, a script
_commands                 one module each
bin                       what `python -m nanoeval.bin.…` runs
"""

from nanoeval_cli._main import main as main

__all__ = ["main"]
