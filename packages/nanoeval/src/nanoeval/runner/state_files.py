from nanoeval_runner.state_files import *
