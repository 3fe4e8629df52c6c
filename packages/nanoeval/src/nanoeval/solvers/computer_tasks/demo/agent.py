"""`python -m nanoeval.solvers.computer_tasks.demo.agent`."""

from nanoeval_computer.demo.agent import demo, main

__all__ = [
    "demo",
    "main",
]

if __name__ == "__main__":
    main()
