"""Computer tasks: interfaces, runtimes, agents."""
