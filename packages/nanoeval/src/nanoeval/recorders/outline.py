from nanoeval_recorder.outline import *
