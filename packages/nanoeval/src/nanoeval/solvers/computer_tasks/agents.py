from nanoeval_computer.agents import *
