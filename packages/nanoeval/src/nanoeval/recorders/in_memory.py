from nanoeval_recorder.in_memory import *
