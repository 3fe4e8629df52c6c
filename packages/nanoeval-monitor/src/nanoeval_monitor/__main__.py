"""`python -m nanoeval_monitor`: the monitor as a process of its own."""

from nanoeval_runner.entrypoint import exit_codes, nanoeval_logging

from nanoeval_monitor.cli import main

if __name__ == "__main__":
    with exit_codes(), nanoeval_logging():
        main()
