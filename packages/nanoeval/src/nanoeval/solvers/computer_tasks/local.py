from nanoeval_computer.local import *
