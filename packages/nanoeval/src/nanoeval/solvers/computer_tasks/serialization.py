from nanoeval_computer.serialization import *
