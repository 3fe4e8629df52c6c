from nanoeval_runner.stored_scores import *
