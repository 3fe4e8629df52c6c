from nanoeval_runner.remote_executor import *
