from nanoeval_computer.runtime import *
