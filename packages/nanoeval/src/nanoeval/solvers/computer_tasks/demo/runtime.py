"""`python -m nanoeval.solvers.computer_tasks.demo.runtime`."""

from nanoeval_computer.demo.runtime import demo, main

__all__ = [
    "demo",
    "main",
]

if __name__ == "__main__":
    main()
