from nanoeval_runner.setup import *
