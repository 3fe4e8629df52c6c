"""One module for each subcommand: `main(arguments) -> exit code`."""
