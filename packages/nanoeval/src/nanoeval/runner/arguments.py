from nanoeval_runner.arguments import *
