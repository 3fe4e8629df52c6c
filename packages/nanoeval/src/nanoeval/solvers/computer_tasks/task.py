from nanoeval_computer.task import *
