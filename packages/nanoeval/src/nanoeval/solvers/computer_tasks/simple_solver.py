"""Solvers that do one thing in the machine and are graded: the least that a solver can be."""

from nanoeval_computer.simple_solver import *
