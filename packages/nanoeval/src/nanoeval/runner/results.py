from nanoeval_runner.results import *
