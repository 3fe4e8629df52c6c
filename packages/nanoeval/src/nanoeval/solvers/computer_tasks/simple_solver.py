from nanoeval_computer.simple_solver import *
