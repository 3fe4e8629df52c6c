"""Nothing is left behind: a process that outlives this one, and what tells it of each name."""
