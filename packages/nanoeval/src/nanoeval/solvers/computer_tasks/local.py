"""Machines without an engine: a folder and processes of this host, with bubblewrap or without."""

from nanoeval_computer.local import *
