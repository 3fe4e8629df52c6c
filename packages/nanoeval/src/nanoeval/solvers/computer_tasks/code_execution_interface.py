"""Machines that tasks run in: what a computer can do, how one is configured, who starts it."""

from nanoeval_computer.code_execution_interface import *
