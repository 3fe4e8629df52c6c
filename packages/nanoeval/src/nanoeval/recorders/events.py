from nanoeval_recorder.events import *
