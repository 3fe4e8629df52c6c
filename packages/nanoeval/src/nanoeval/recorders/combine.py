from nanoeval_recorder.combine import *
