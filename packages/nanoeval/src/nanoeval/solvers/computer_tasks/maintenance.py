from nanoeval_computer.maintenance import *
