from nanoeval_computer.demo.task import *
