from nanoeval_computer.steps import *
