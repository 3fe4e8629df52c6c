from nanoeval_recorder.reading.sample import *
