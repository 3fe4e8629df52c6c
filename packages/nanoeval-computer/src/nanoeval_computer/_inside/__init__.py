"""What runs inside of a machine, and what speaks to it there: a shell, a Jupyter kernel."""
