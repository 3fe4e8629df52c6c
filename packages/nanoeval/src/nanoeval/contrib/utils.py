"""A limit on how long a machine may take to start."""

from nanoeval_computer.startup import *
