from nanoeval_computer.secret import *
