"""Solvers: `nanoeval.solvers.mcq`, `.mcq_api`, `.short_answer`."""
