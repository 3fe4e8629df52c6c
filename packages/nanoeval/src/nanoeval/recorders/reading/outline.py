from nanoeval_recorder.reading.outline import *
