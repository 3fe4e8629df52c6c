from nanoeval_recorder.reader import *
