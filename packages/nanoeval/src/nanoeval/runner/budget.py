from nanoeval_runner.budget import *
