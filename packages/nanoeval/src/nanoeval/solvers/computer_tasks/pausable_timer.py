"""A time limit whose clock can be stopped, as while waiting for something not to be counted."""

from nanoeval_computer.pausable_timer import *
