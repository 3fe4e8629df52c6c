from nanoeval_runner.formats import *
