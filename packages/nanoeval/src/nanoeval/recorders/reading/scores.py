from nanoeval_recorder.reading.scores import *
