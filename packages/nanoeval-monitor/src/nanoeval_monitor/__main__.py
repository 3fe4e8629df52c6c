"""`python -m nanoeval_monitor`: the monitor as a process of its own."""

from nanoeval_runner.setup import exit_codes, nanoeval_logging

from nanoeval_monitor._cli import main

if __name__ == "__main__":
    with exit_codes(), nanoeval_logging():
        main()
