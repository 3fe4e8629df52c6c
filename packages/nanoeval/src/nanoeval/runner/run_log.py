from nanoeval_runner.run_log import *
