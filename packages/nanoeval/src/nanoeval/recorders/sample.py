from nanoeval_recorder.sample import *
