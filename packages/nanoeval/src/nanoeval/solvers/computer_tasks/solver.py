"""Solvers of computer tasks, and the eval that runs one over its tasks."""

from nanoeval_computer.solver import *
