"""`python -m nanoeval.solvers.computer_tasks.demo.{agent,runtime}`."""
