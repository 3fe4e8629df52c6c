from nanoeval_computer.machine import *
