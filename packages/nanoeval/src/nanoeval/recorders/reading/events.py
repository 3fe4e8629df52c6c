from nanoeval_recorder.reading.events import *
