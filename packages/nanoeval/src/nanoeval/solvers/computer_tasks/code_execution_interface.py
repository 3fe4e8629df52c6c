from nanoeval_computer.code_execution_interface import *
