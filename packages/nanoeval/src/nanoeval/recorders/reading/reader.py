from nanoeval_recorder.reading.reader import *
