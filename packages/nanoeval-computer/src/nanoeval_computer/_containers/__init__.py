"""Containers: their engine, what a task asks of it, and those of one machine."""
