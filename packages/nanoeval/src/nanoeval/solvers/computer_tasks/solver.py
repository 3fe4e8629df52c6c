from nanoeval_computer.solver import *
