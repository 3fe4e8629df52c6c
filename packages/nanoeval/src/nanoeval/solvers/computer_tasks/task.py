"""Tasks that are solved in a machine, and the grades they give."""

from nanoeval_computer.task import *
