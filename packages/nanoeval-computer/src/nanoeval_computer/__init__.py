"""Computer tasks: interfaces, runtimes that start machines, and agents."""
