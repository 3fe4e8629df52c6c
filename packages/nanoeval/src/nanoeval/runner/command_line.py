from nanoeval_runner.command_line import *
