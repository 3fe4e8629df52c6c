"""One module for each subcommand: its `command`."""
