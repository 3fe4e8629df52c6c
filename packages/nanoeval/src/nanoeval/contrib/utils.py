from nanoeval_computer.startup import *
