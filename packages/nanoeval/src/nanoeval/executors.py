from nanoeval_core.executors import *
