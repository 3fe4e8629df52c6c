"""Try a solver or a runtime: `python -m nanoeval.solvers.computer_tasks.demo.{agent,runtime}`."""
