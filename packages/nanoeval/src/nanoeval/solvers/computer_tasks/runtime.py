"""`MachineRuntime`: what the runtimes that start our machines have in common."""

from nanoeval_computer.runtime import *
