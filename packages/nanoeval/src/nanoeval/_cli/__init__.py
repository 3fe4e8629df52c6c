"""The `nanoeval` command. Each subcommand is a module of `commands`, loaded when it is called.

main                      finds the subcommand, turns errors into messages and exit codes
command, output           what subcommands are made of, and how they print
catalogue                 runs, from state files and records together
targets                   evals by name: module:Class, a file, a script
commands                  one module each
"""
