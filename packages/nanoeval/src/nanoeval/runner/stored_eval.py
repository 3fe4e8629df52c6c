from nanoeval_runner.stored_eval import *
