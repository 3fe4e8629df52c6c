from nanoeval_computer.limits import *
