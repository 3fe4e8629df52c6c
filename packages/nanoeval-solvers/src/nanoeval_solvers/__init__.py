"""nanoeval solvers."""
