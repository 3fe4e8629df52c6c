from nanoeval_computer.grading import *
