from nanoeval_recorder.evallib import *
