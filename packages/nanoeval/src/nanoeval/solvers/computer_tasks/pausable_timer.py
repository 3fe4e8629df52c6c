from nanoeval_computer.pausable_timer import *
